"""What is measured: the one table of it, and how sums over targets become measures.

metrics.jsonl, TensorBoard, the progress line, the report, sweeps and result files all read `MEASURES`.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from lm_keras.data.store import TextCounts


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a measure is shown.

    Attributes:
        form: format of its value.
        better: `low` or `high`; empty where neither is better.
        head: of its column in a table of results; empty for no column.
        width: of its column in the table that a run prints at its end; 0 for no column.
        unit: of its value, in a sentence.
        title: of its plot in a report; empty for no plot.
        evaluated: its name in an evaluation, where a training line has it under another one or not at all.
        curve: whether TensorBoard shows it.
        whole: whether it is a whole number.
        live: how the progress of training tells it, a format; empty for not at all. A text that begins with
            the value is left out where there is none; of others there is a dash.
        told: how the progress tells it after an evaluation, likewise.
        logarithmic: whether its values span orders of magnitude.
        from_zero: whether its plot begins at 0.
    """

    form: str = ".4g"
    better: str = ""
    head: str = ""
    width: int = 0
    unit: str = ""
    title: str = ""
    evaluated: str = ""
    curve: bool = True
    whole: bool = False
    live: str = ""
    told: str = ""
    logarithmic: bool = False
    from_zero: bool = False

    @property
    def label(self) -> str:
        """Return what its values are called on an axis or in a head: the unit, where there is one."""
        return self.unit or self.head

    def cost(self, value: float) -> float:
        """Return a number that is lower where the measure is better."""
        return cost_of(value, self.better)

    def shown(self, value: float | None) -> str:
        """Return a value as text; a dash for none."""
        return "-" if value is None else format(value, self.form)


_COUNT = Measure(",.0f", whole=True, curve=False)

MEASURES: dict[str, Measure] = {
    "step": _COUNT,
    "tokens": dataclasses.replace(_COUNT, head="tokens", width=10),
    "bytes": _COUNT,
    "words": _COUNT,
    "characters": _COUNT,
    "unknown": _COUNT,
    "loss": Measure(
        ".4f", "low", title="Loss, nats per token", evaluated="nats_per_token", live="loss {}", told="loss {}"
    ),
    "nats_per_token": Measure(".4f", "low", head="loss", width=8, unit="nats/token", curve=False),
    "perplexity": Measure(
        ",.2f", "low", head="perplexity", width=11, title="Perplexity", evaluated="perplexity", live="ppl {}",
        told="perplexity {}", logarithmic=True,
    ),
    "word_perplexity": Measure(",.1f", "low", head="per word"),
    "bits_per_byte": Measure(
        ".3f", "low", head="bits/byte", width=10, unit="bits/byte", title="Bits per byte",
        evaluated="bits_per_byte", told="{} bits/byte",
    ),
    "bits_per_character": Measure(".3f", "low", head="bits/char", unit="bits/character"),
    "accuracy": Measure(".3f", "high", head="accuracy", told="accuracy {}"),
    "macro_f1": Measure(".3f", "high", head="macro F1", width=9, title="Macro-F1", evaluated="macro_f1",
        told="macro F1 {}"),
    "mcc": Measure(".3f", "high", head="MCC", width=7),
    "span_f1": Measure(".3f", "high", head="span F1", width=8, title="Span F1, strict IOB2",
        evaluated="span_f1", told="span F1 {}"),
    "span_precision": Measure(".3f", "high", head="precision", width=10),
    "span_recall": Measure(".3f", "high", head="recall", width=7),
    "span_f1_conlleval": Measure(".3f", "high", head="conlleval F1", width=13),
    "bleu": Measure(".1f", "high", head="BLEU", width=6, title="BLEU", evaluated="bleu", told="BLEU {}"),
    "chrf": Measure(".1f", "high", head="chrF", width=6, title="chrF2", evaluated="chrf", told="chrF {}"),
    "rouge1": Measure(".1f", "high", head="ROUGE-1"),
    "rouge2": Measure(".1f", "high", head="ROUGE-2"),
    "rougeL": Measure(".1f", "high", head="ROUGE-L", width=8, title="ROUGE-L", evaluated="rougeL"),
    "ended": Measure(".3f", "high", head="ended", width=7, title="Share of answers that end by themselves",
        evaluated="ended", told="ended {}"),
    "signature": Measure("", curve=False),
    "rouge_settings": Measure("", curve=False),
    "decoded": Measure("", curve=False),
    "hidden": Measure(".3f", head="hidden"),
    "learning_rate": Measure(".2g", title="Learning rate", live="lr {}", from_zero=True),
    "dropout": Measure(title="Dropout rate", from_zero=True),
    "token_noise": Measure(),
    "epsilon": Measure(".3g", title="Epsilon spent", live="epsilon {}", from_zero=True),
    "gradient_norm": Measure(title="Gradient norm before clipping"),
    "skipped": Measure(",.0f", whole=True),
    "data_wait": Measure(),
    "tokens_per_second": Measure(",.0f", title="Tokens per second", live="{} tok/s", from_zero=True),
    "seconds": Measure(",.0f", curve=False),
    "context": _COUNT,
    "stride": _COUNT,
}  # fmt: skip
"""Every measure by its name, in the order in which files and tables have them."""

_OF_THE_LOOP = ("last", "split", "seconds_left")
"""What logs say beside measures."""


def measured(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured of some logs, in the order of the table, and then what it does not know."""
    names = [name for name in MEASURES if name in logs]
    names += [
        name
        for name in logs
        if name not in MEASURES and name not in _OF_THE_LOOP and not name.startswith("val_")
    ]
    return {name: logs[name] for name in names}


def counted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return measures with whole numbers as such: Keras makes floats of all on their way to a callback."""
    whole = {name for name, measure in MEASURES.items() if measure.whole}
    return {
        name: int(value) if name in whole and value is not None else value for name, value in values.items()
    }


def curves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the measures that TensorBoard shows, in the order of the table, and then those that it does not
    know."""
    return {name: value for name, value in measured(values).items() if MEASURES.get(name, Measure()).curve}


def told(values: Mapping[str, Any], how: str) -> list[str]:
    """Return the measures as the progress tells them.

    Args:
        values: measures by name.
        how: `live` or `told`.
    """
    lines = []
    for name, measure in MEASURES.items():
        form = getattr(measure, how)
        if form and name in values and (values[name] is not None or not form.startswith("{}")):
            lines.append(form.format(measure.shown(values[name])))
    return lines


def columns_of(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the measures that a table of results has a column for: those that one of the results has."""
    found = {name for values in results for name in values}
    return [name for name, measure in MEASURES.items() if measure.head and name in found]


def likelihood_measures(
    nats: float, tokens: int, counts: TextCounts | None = None
) -> dict[str, float | None]:
    """Turn summed cross-entropy into the measures of the field.

    Args:
        nats: summed cross-entropy of `tokens` targets.
        tokens: how many targets that sum is over.
        counts: what the whole split holds, if the sum is over the whole split. Measures per word, byte and
            character are None without it, or when the tokenizer lost text.

    Returns:
        nats_per_token, perplexity = exp(nats / tokens), word_perplexity = exp(nats / words), bits_per_byte
        and bits_per_character. What is not finite is None.

    Example:
        >>> counts = TextCounts(tokens=4, bytes=16, words=4, characters=8)
        >>> likelihood_measures(math.log(2) * 8, 4, counts)["bits_per_byte"]
        0.5
    """
    lossless = counts is not None and not counts.unknown
    bits = nats / math.log(2)
    values = {
        "nats_per_token": _ratio(nats, tokens),
        "perplexity": _exp(_ratio(nats, tokens)),
        "word_perplexity": _exp(_ratio(nats, counts.words)) if lossless else None,
        "bits_per_byte": _ratio(bits, counts.bytes) if lossless else None,
        "bits_per_character": _ratio(bits, counts.characters) if lossless else None,
    }
    return {name: finite(value) for name, value in values.items()}


def target_measures(sums: Mapping[str, float]) -> dict[str, float | None]:
    """Return the measures of some targets that are not all tokens of a text.

    Args:
        sums: `nats`, `correct` and `weight` of the targets.

    Returns:
        nats_per_token, perplexity and accuracy.
    """
    weight = sums["weight"]
    found = likelihood_measures(sums["nats"], weight)
    return {
        "nats_per_token": found["nats_per_token"],
        "perplexity": found["perplexity"],
        "accuracy": finite(sums["correct"] / weight) if weight else None,
    }


def cost_of(value: float, better: str) -> float:
    """Return a number that is lower where a measure is better, for which `low` or `high` is better."""
    return -value if better == "high" else value


def finite(value: float | None) -> float | None:
    """Return the value, or None if it is not finite: JSON has no other way to say so.

    With floatx bfloat16 Keras hands out tensors, which become numbers here.
    """
    return float(value) if value is not None and math.isfinite(value) else None


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _exp(value: float | None) -> float | None:
    if value is None:
        return None
    try:
        return math.exp(value)
    except OverflowError:
        return None
