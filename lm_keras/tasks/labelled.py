"""What classification and tagging have in common: whole examples in packed rows, and predictions by number.

n examples, w words, p predictions of a split (examples or words), C labels; R rows, T positions, K
predictions of a row.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data.batch import Batch
from lm_keras.data.example_rows import NO_WORD, Example, ExampleRows, Frame, Texts
from lm_keras.data.labels import Labels
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError, nearest
from lm_keras.objectives.measures import finite
from lm_keras.tasks.tally import Tally
from lm_keras.tasks.task import common_settings
from lm_keras.tasks.whole_examples import WholeExamples, batches_of
from lm_keras.text.tokenizer import Tokenizer

BALANCED = "balanced"
"""Weights with which all labels have the same sum."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Labelled(WholeExamples):
    """Predict labels of whole examples or of words. A row has several examples.

    Attributes:
        labels: the names of the C labels.
        class_weights: [C] float32, with mean 1 over the training text.
    """

    labels: Labels
    class_weights: np.ndarray

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "Labelled":
        between = config.model.has("masked_lm")
        begin, end = (tokenizer.begin_id, tokenizer.eod_id) if tokenizer else (0, 0)
        return cls(
            **common_settings(config, vocab_size),
            labels=labels,
            frame=Frame(begin, end if between else None),
            too_long=config.data.too_long or cls.too_long_by_default,
            class_weights=class_weights(config.learning.class_weights, labels),
            at_last=config.pooling == "last",
        )

    too_long_by_default = "cut_end"

    @property
    def outputs(self) -> int:
        """Return C."""
        return len(self.labels.names)

    def texts(self, store: TokenStore) -> Texts:
        """Return the examples of a split with their labels or tags."""
        return Texts.in_store(store)

    def weights_of(self, targets: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(self.class_weights), targets)

    def batches(
        self, examples: Sequence[Example], rows: int, length: int, too_long: str | None = None
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Pack examples in memory.

        The shapes of the batches depend on `rows`, `length` and a power of two for K, so that a compiled
        function has few of them.

        Args:
            examples: texts, all with words or all without.
            rows: R.
            length: T.
            too_long: what becomes of an example that no row holds; None for what an evaluation does.

        Yields:
            A batch, and the number of the example or word of each prediction, [R, K] int32, -1 for none. An
            example in several windows has a prediction in each; a word has one.
        """
        how = too_long or self.too_long_to_score
        plan = ExampleRows.of(Texts.of(examples), self.frame, length, how, self.at_last)
        plan = dataclasses.replace(plan, predictions=1 << (plan.predictions - 1).bit_length())
        for batch in batches_of(plan, rows):
            yield batch, batch.inputs["number"]

    def tally(self, store: TokenStore) -> "LabelTally":
        return LabelTally(self.plan(store, self.too_long_to_score), self.outputs)

    def observed(self, logits: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"log_probabilities": tf.nn.log_softmax(logits)}

    def measures(self, sums: Mapping[str, Any], counts: TextCounts) -> dict[str, Any]:
        true = sums["true"]
        known = np.flatnonzero(true >= 0)
        chosen = sums["log_probabilities"][known, true[known]]
        nats = -float(np.sum(chosen, dtype=np.float64))
        return {
            "nats_per_token": finite(nats / len(known)) if len(known) else None,
            **self._scores(sums),
            "context": self.sequence_length,
            "stride": None,
        }

    def _scores(self, sums: Mapping[str, Any]) -> dict[str, float | None]:
        """Return how good the predictions are.

        Args:
            sums: `true` [p] int32, negative where there is none; `log_probabilities` [p, C]; and of words
                `begins` [n + 1], the first word of each example, and their count.
        """
        raise NotImplementedError

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        if (self.class_weights != 1).any():
            return {}  # The sums know the weights of the targets, not their number.
        return {"accuracy": finite(sums["correct"] / sums["weight"]) if sums["weight"] else None}


class LabelTally(Tally):
    """Collects the log-probabilities of every example or word of a split, whichever row it stands in.

    Args:
        plan: the rows of the split.
        outputs: C.
    """

    def __init__(self, plan: ExampleRows, outputs: int):
        self._plan = plan
        self._summed = np.zeros([plan.predicted, outputs], np.float32)
        self._counts = np.zeros(plan.predicted, np.int64)

    def add(self, batch: Batch, found: Mapping[str, np.ndarray]) -> None:
        numbers = batch.inputs["number"]
        there = numbers >= 0
        np.add.at(self._summed, numbers[there], found["log_probabilities"][there])
        np.add.at(self._counts, numbers[there], 1)

    @property
    def sums(self) -> dict[str, Any]:
        """Return `log_probabilities` [p, C], `true` [p] int32, `targets`, how many of them have a label, and
        of words `begins` [n + 1].

        An example in several windows has the normalized geometric mean of their probabilities.
        """
        texts, several = self._plan.texts, self._counts > 1
        found = self._summed
        if several.any():
            means = found[several] / self._counts[several, None]
            found[several] = means - np.logaddexp.reduce(means, axis=1, keepdims=True)
            self._counts[several] = 1
        if texts.tags is None:
            true, begins = np.asarray(texts.labels), {}
        else:
            tags = np.asarray(texts.tags)
            (words,) = np.nonzero(tags != NO_WORD)
            true = tags[words]
            begins = {"begins": np.append(np.searchsorted(words, texts.begins), len(words))}
        targets = int(np.count_nonzero(true >= 0))
        return {"log_probabilities": found, "true": true, "targets": targets, **begins}


def class_weights(text: str, labels: Labels) -> np.ndarray:
    """Return the weights [C] float32 of the labels in the loss, with mean 1 over the training text.

    Args:
        text: `--class_weights`: none, balanced, or `NAME:W,...`; a label that is not named has the weight 1.
        labels: the C labels.

    Raises:
        InputError: a name is not a label, a weight is not a number above 0, or a name has two.

    Example: with 3 examples of `no` and 1 of `yes`, `balanced` gives both labels the same sum, [2/3, 2].
    """
    counts, weights = np.array(labels.counts, np.float64), np.ones(len(labels.names))
    if text == BALANCED:
        weights = 1 / np.maximum(counts, 1)
    elif text != "none":
        for name, weight in _named(text, labels.names).items():
            weights[labels.names.index(name)] = weight
    total = (weights * counts).sum()
    factor = counts.sum() / total if total else 1.0  # Of a model of others the counts are not known.
    return (weights * factor).astype(np.float32)


def _named(text: str, names: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        if name not in names:
            raise InputError(
                f"--class_weights={text}: {name or part!r} is not a label"
                f"{nearest(name or part, list(names))}; expected none, balanced, or NAME:WEIGHT,... with "
                "labels of the training text"
            )
        if name in found:
            raise InputError(f"--class_weights={text}: the label {name!r} has two weights; leave one out")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf"):
            raise InputError(f"--class_weights={text}: {weight!r} is not a weight; expected a number above 0")
    return found
