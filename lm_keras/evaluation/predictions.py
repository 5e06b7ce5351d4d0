"""What a network with labels predicts for a split: scores by class, intervals, calibration, each example.

p predictions, one for each example or for each word; C labels; n examples.
"""

import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lm_keras.corpora.documents import Document
from lm_keras.objectives import scores
from lm_keras.objectives.calibration import calibration, fitted_temperature, scaled
from lm_keras.objectives.viterbi import best_tags, has_spans

MAX_CONFUSED = 40
"""Classes of a confusion matrix that is written, at most: nobody reads a larger one."""

DIGITS = 6
"""Decimals of a number that is written for an example."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for a split, in its order.

    Attributes:
        names: of the C labels.
        true: [p] int32, the label of each example, or the tag of each word; negative where there is none.
        log_probabilities: [p, C].
        begins: [n + 1], the first word of each example and the number of all words; None where examples
            themselves are predicted.
    """

    names: Sequence[str]
    true: np.ndarray
    log_probabilities: np.ndarray
    begins: np.ndarray | None = None

    @classmethod
    def of(cls, sums: Mapping[str, Any], names: Sequence[str]) -> "Predictions":
        """Take over what an evaluation collected."""
        return cls(names, sums["true"], sums["log_probabilities"], sums.get("begins"))

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """Return the predicted label of each example or word, [p] int64."""
        if self.begins is None:
            return np.argmax(self.log_probabilities, axis=1)
        found = [
            best_tags(self.log_probabilities[begin:end], self.names)
            for begin, end in itertools.pairwise(self.begins)
        ]
        return np.concatenate([np.zeros(0, np.int64), *found])

    @property
    def groups(self) -> list[slice]:
        """Return the words of each example of which every word has a tag."""
        parts = [slice(begin, end) for begin, end in itertools.pairwise(self.begins)]
        return [part for part in parts if (self.true[part] >= 0).all()]

    def details(self, seed: int = 0, temperature: float | None = None) -> dict[str, Any]:
        """Return what says more than one number of a split; it can be written as JSON.

        Args:
            seed: of the resamples of the intervals.
            temperature: that fits the validation text; None where it is not known.

        Returns:
            `by_class`, or `by_type` of spans; `intervals`, 95 % of each measure by the bootstrap over
            examples; `calibration`, with a `temperature` also at that one; `confusion`, its `names` and
            `counts`, where there are few classes; and `labels`, how many of each there are.
        """
        known = self.true >= 0
        true, predicted = self.true[known], self.predicted[known]
        named = self.by_span(seed) if self.begins is not None and has_spans(self.names) else {}
        if not named:
            found = scores.classification_scores(true, predicted, self.names)
            intervals = scores.class_intervals(true, predicted, len(self.names), seed)
            named = {"by_class": found["by_class"], "intervals": intervals}
        return {
            **named,
            **self._calibrated(known, temperature),
            **({"confusion": self.confusion()} if self.confusion() else {}),
            "labels": self.label_counts(),
        }

    def label_counts(self) -> dict[str, int]:
        """Return how many examples or words have each label."""
        counts = np.bincount(self.true[self.true >= 0], minlength=len(self.names))
        return dict(zip(self.names, counts.tolist()))

    def by_label(self) -> dict[str, dict[str, Any]]:
        """Return `by_type`, the scores of each type of spans, or `by_class`, those of each class."""
        if self.begins is not None and has_spans(self.names):
            return {"by_type": scores.span_scores(*self._span_tags())["by_type"]}
        known = self.true >= 0
        found = scores.classification_scores(self.true[known], self.predicted[known], self.names)
        return {"by_class": found["by_class"]}

    def _span_tags(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return the true and the predicted tags of each example of which every word has a tag."""
        groups = self.groups
        true, predicted = (
            [[self.names[tag] for tag in tags[part]] for part in groups]
            for tags in (self.true, self.predicted)
        )
        return true, predicted

    def by_span(self, seed: int) -> dict[str, Any]:
        """Return scores by type and intervals of the measures of spans."""
        true, predicted = self._span_tags()
        return {
            "by_type": scores.span_scores(true, predicted)["by_type"],
            "intervals": scores.span_intervals(true, predicted, seed),
        }

    @functools.cached_property
    def temperature(self) -> float:
        """Return the temperature at which what is true is likeliest."""
        known = self.true >= 0
        return fitted_temperature(self.log_probabilities[known], self.true[known])

    def _calibrated(self, known: np.ndarray, temperature: float | None) -> dict[str, Any]:
        true, values = self.true[known], self.log_probabilities[known]

        def compared(values: np.ndarray) -> dict:
            chosen = values[np.arange(len(values)), self.predicted[known]]
            return calibration(np.exp(chosen), self.predicted[known] == true)

        if temperature is None:
            return {"calibration": compared(values)}
        after = compared(scaled(values, temperature))["expected_calibration_error"]
        found = {**compared(values), "expected_calibration_error_at_temperature": after}
        return {"calibration": found, "temperature": temperature}

    def confusion(self) -> dict[str, Any] | None:
        """Return the `names` and the `counts` of the confusion matrix, of spans by the types of their words;
        None for more classes than are shown.
        """
        known = self.true >= 0
        names, numbers = list(self.names), np.arange(len(self.names))
        if self.begins is not None and has_spans(self.names):
            kinds = [name.partition("-")[2] if name != "O" else name for name in self.names]
            names = sorted(set(kinds))
            numbers = np.array([names.index(kind) for kind in kinds])
        if len(names) > MAX_CONFUSED:
            return None
        true, predicted = numbers[self.true[known]], numbers[self.predicted[known]]
        return {"names": names, "counts": scores.confusion(true, predicted, len(names)).tolist()}

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """Return the first prediction of each example and the number of all, [n + 1]."""
        return np.arange(len(self.true) + 1) if self.begins is None else self.begins

    def costs(self) -> np.ndarray:
        """Return the negative log-probability of what is true of each example, [n] nats."""
        chosen = self.log_probabilities[np.arange(len(self.true)), np.maximum(self.true, 0)]
        nats = np.append(0.0, np.cumsum(np.where(self.true >= 0, -chosen.astype(float), 0.0)))
        return nats[self.bounds[1:]] - nats[self.bounds[:-1]]

    def lines(self, documents: Iterable[Document], some: Collection[int] | None = None) -> Iterator[dict]:
        """Yield what was predicted for each example, in their order.

        Args:
            documents: the texts of the split.
            some: numbers of the examples that are yielded; None for all.

        Yields:
            Its `source`; its `text`, true `label` and `predicted` one with its `probability`, or its `words`,
            true `tags` and `predicted` ones; and `nats`, the negative log-probability of what is true.
        """
        costs = self.costs()
        count = len(costs) if some is None else max(some, default=-1) + 1  # No more is read than is needed.
        for number, document in enumerate(itertools.islice(documents, count)):
            if some is not None and number not in some:
                continue
            begin, end = self.bounds[number : number + 2].tolist()
            true, predicted = (
                [self.names[label] if label >= 0 else None for label in labels[begin:end]]
                for labels in (self.true, self.predicted)
            )
            line: dict[str, Any] = {"source": document.source}
            if self.begins is None:
                probability = float(np.exp(self.log_probabilities[begin, self.predicted[begin]]))
                line |= {"text": "".join(document.pieces()), "label": true[0], "predicted": predicted[0]}
                line |= {"probability": round(probability, DIGITS)}
            else:
                line |= {
                    "words": [word.text for word in document.words],
                    "tags": true,
                    "predicted": predicted,
                }
            yield {**line, "nats": round(float(costs[number]), DIGITS)}


def described(lengths: np.ndarray, longest: int, padding: float) -> dict[str, Any]:
    """Return how long the examples of a split are.

    Args:
        lengths: [n], tokens of each example.
        longest: tokens of an example that a row holds, at most.
        padding: the share of the positions of their rows without a token.

    Returns:
        `examples`; `shortest`, `median`, `percentile_95` and `longest` number of tokens; `too_long`, examples
        with more than a row holds; and `padding`.
    """
    if not len(lengths):
        return {"examples": 0}
    shortest, median, most, top = np.quantile(lengths, [0, 0.5, 0.95, 1], method="lower").tolist()
    return {
        "examples": len(lengths),
        "shortest": shortest, "median": median, "percentile_95": most, "longest": top,
        "too_long": int(np.count_nonzero(lengths > longest)),
        "padding": round(padding, DIGITS),
    }  # fmt: skip
