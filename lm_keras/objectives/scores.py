"""Scores of predicted classes and spans, as the field defines them, with intervals.

n examples, C classes, R resamples. Tags are IOB2: `O`, `B-TYPE` for the first word of a span, `I-TYPE` for
its other words.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Tags = Sequence[str]
"""The tags of the words of one sentence."""

RESAMPLES = 1_000
"""Resamples of a bootstrap."""

_MAX_CELLS = 2**22
"""Cells of confusion matrices that a bootstrap holds at a time: 32 MiB."""


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count how often each class was predicted for each class.

    Args:
        true, predicted: [n], whole numbers from 0 to C - 1.
        classes: C.

    Returns:
        [C, C] int64, a row for each true class, a column for each predicted one.

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    cells = np.asarray(true, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def classification_scores(true: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict:
    """Score predicted classes.

    Args:
        true, predicted: [n], whole numbers from 0 to C - 1.
        names: of the C classes.

    Returns:
        `accuracy`, `macro_f1` and `mcc`, and `by_class`: for each name its `precision`, `recall`, `f1` and
        `support`, the examples that have it. Macro-F1 is the mean of F1 over the classes that are true or
        predicted somewhere. A ratio whose denominator is 0 is 0, as in scikit-learn. Without any example
        the three scores are None.

    Reference: Gorodkin (2004), equation 8, for the correlation `mcc` of more than two classes.
    """
    counts = confusion(true, predicted, len(names))
    precision, recall, f1 = _ratios(np.diagonal(counts), counts.sum(0), counts.sum(1))
    rows = zip(names, precision, recall, f1, counts.sum(1))
    return {
        **{name: float(v) if counts.sum() else None for name, v in _class_measures(counts).items()},
        "by_class": {name: _described(*values) for name, *values in rows},
    }


def class_intervals(
    true: np.ndarray, predicted: np.ndarray, classes: int, seed: int = 0
) -> dict[str, list[float]]:
    """Return a 95 % interval of accuracy, macro-F1 and MCC, by the bootstrap over examples.

    Args:
        true, predicted: [n], whole numbers from 0 to C - 1.
        classes: C.
        seed: of the resamples.
    """
    counts = confusion(true, predicted, classes).ravel()
    (cells,) = np.nonzero(counts)

    def measures(draws: np.ndarray) -> dict[str, np.ndarray]:
        resampled = np.zeros([len(draws), classes * classes], np.int64)
        resampled[:, cells] = draws
        return _class_measures(resampled.reshape(-1, classes, classes))

    return _bootstrap(counts[cells], measures, seed, max(1, _MAX_CELLS // classes**2))


def _class_measures(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, macro-F1 and MCC of confusion matrices [..., C, C], each [...]."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)  # [..., C]
    predicted, true = counts.sum(-2), counts.sum(-1)
    total, correct = counts.sum((-2, -1)), hits.sum(-1)
    f1 = _ratios(hits, predicted, true)[2]
    seen = (predicted + true > 0).sum(-1)
    # In float64: the products of large counts leave int64.
    agreed = correct * total.astype(float) - (predicted.astype(float) * true).sum(-1)
    spreads = [total.astype(float) ** 2 - (n.astype(float) ** 2).sum(-1) for n in (predicted, true)]
    return {
        "accuracy": _divided(correct, total),
        "macro_f1": _divided(f1.sum(-1), seen),
        "mcc": _divided(agreed, np.sqrt(spreads[0]) * np.sqrt(spreads[1])),
    }


def spans_of(tags: Tags, strict: bool = True) -> list[tuple[int, int, str]]:
    """Return the spans that tags mark, as (first word, word behind the last, type).

    Args:
        tags: of a sentence.
        strict: whether only `B-TYPE` begins a span, as in strict IOB2. Otherwise an `I-TYPE` behind another
            type or `O` begins one, too, as for conlleval and the default of seqeval.

    Example:
        >>> spans_of(["B-loc", "I-loc", "O", "I-loc"])
        [(0, 2, 'loc')]
        >>> spans_of(["B-loc", "I-loc", "O", "I-loc"], strict=False)
        [(0, 2, 'loc'), (3, 4, 'loc')]
    """
    spans, begin, kind = [], None, ""
    for at, tag in enumerate([*tags, "O"]):
        prefix, _, its_kind = tag.partition("-")
        if begin is not None and prefix == "I" and its_kind == kind:
            continue
        if begin is not None:
            spans.append((begin, at, kind))
        begins = prefix == "B" or (prefix == "I" and not strict)
        begin, kind = (at, its_kind) if begins else (None, "")
    return spans


def span_scores(true: Sequence[Tags], predicted: Sequence[Tags]) -> dict:
    """Score predicted spans. A span counts if its words and its type are exactly those of a true one.

    Args:
        true, predicted: the tags of each sentence.

    Returns:
        `span_f1`, `span_precision` and `span_recall` by strict IOB2 over all types (micro average),
        `span_f1_conlleval` by the rules of conlleval, and `by_type`: for each type its `precision`, `recall`,
        `f1` and `support` by strict IOB2. A ratio whose denominator is 0 is 0, as in seqeval.
    """
    counts, hits, found, there = _span_counts(true, predicted, strict=True)
    lenient, *_ = _span_counts(true, predicted, strict=False)
    return {
        **{name: float(value) for name, value in _span_measures(counts.sum(0)).items()},
        "span_f1_conlleval": float(_span_measures(lenient.sum(0))["span_f1"]),
        "by_type": {
            kind: _described(*_ratios(hits[kind], found[kind], there[kind]), there[kind])
            for kind in sorted({*found, *there})
        },
    }


def span_intervals(true: Sequence[Tags], predicted: Sequence[Tags], seed: int = 0) -> dict[str, list[float]]:
    """Return a 95 % interval of the span measures by the bootstrap over sentences.

    Args:
        true, predicted: the tags of each sentence.
        seed: of the resamples.
    """
    strict, lenient = (_span_counts(true, predicted, how)[0] for how in (True, False))
    kinds, times = np.unique(np.concatenate([strict, lenient], axis=1), axis=0, return_counts=True)

    def measures(draws: np.ndarray) -> dict[str, np.ndarray]:
        sums = draws @ kinds  # [R, 6]
        conlleval = _span_measures(sums[:, 3:])["span_f1"]
        return {**_span_measures(sums[:, :3]), "span_f1_conlleval": conlleval}

    return _bootstrap(times, measures, seed, RESAMPLES)


def _span_counts(
    true: Sequence[Tags], predicted: Sequence[Tags], strict: bool
) -> tuple[np.ndarray, Counter, Counter, Counter]:
    """Count spans that are right, spans that are predicted, and spans that are true.

    Returns:
        The three numbers of each sentence, [n, 3] int64, and each of them by type over all sentences.
    """
    rows, by_type = [], (Counter(), Counter(), Counter())
    for true_tags, predicted_tags in zip(true, predicted, strict=True):
        there, found = set(spans_of(true_tags, strict)), set(spans_of(predicted_tags, strict))
        groups = (there & found, found, there)
        rows.append([len(spans) for spans in groups])
        for counter, spans in zip(by_type, groups):
            counter.update(kind for _, _, kind in spans)
    return np.array(rows, np.int64).reshape(-1, 3), *by_type


def _span_measures(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 of counts [..., 3] of right, predicted and true spans."""
    precision, recall, f1 = _ratios(*np.moveaxis(counts, -1, 0))
    return {"span_f1": f1, "span_precision": precision, "span_recall": recall}


def _bootstrap(
    times: np.ndarray,
    measures: Callable[[np.ndarray], dict[str, np.ndarray]],
    seed: int,
    at_once: int,
) -> dict[str, list[float]]:
    """Return the 2.5th and the 97.5th percentile of measures over resamples of the examples.

    Drawing examples with replacement is a multinomial draw over the kinds of examples.

    Args:
        times: [kinds], how many examples there are of each kind.
        measures: from the times of each resample, [R, kinds], to the values by name, each [R].
        seed: of the draws.
        at_once: R, at most.

    Reference: Efron and Tibshirani (1993), section 13.3.
    """
    total = int(times.sum())
    if not total:
        return {}
    random = np.random.Generator(np.random.Philox(key=seed))
    blocks = []
    for first in range(0, RESAMPLES, at_once):
        draws = random.multinomial(total, times / total, size=min(at_once, RESAMPLES - first))
        blocks.append(measures(draws))
    ends = [0.025, 0.975]
    return {
        name: np.quantile(np.concatenate([block[name] for block in blocks]), ends).tolist()
        for name in blocks[0]
    }


def _ratios(
    hits: np.ndarray, predicted: np.ndarray, true: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1, 0 where a denominator is 0."""
    both = np.add(predicted, true)
    return _divided(hits, predicted), _divided(hits, true), _divided(2 * np.asarray(hits), both)


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def _described(precision: float, recall: float, f1: float, support: int) -> dict[str, float | int]:
    return {
        "precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support),
    }  # fmt: skip
