"""Predict the tag of each word."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from lm_keras.data.preparation import PreparedData
from lm_keras.errors import InputError
from lm_keras.objectives.scores import classification_scores, span_scores
from lm_keras.objectives.viterbi import best_tags, has_spans
from lm_keras.tasks.labelled import Labelled

SPAN_SCORES = ("span_f1", "span_precision", "span_recall", "span_f1_conlleval")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Tagging(Labelled):
    """Predict the tag of each word at its first token, K words of a row.

    Every word of a split is scored, whatever its length: an example that no row holds is read in windows.
    Where tags mark spans, those that are predicted follow the rules of IOB2.
    """

    name = "tagging"
    fields = ("words", "tags")
    best: ClassVar[tuple[str, str]] = ("span_f1", "high")
    too_long_by_default = "error"

    @property
    def too_long_to_score(self) -> str:
        return "windows"

    @property
    def judged_by(self) -> tuple[str, str]:
        if self.best_by is None and not has_spans(self.labels.names):
            return "accuracy", "high"
        return super().judged_by

    def check(self, data: PreparedData, say: Callable[[str], None]) -> None:
        """Raise InputError if the tags do not have the measure that `--best_by` names."""
        others = ("macro_f1",) if has_spans(self.labels.names) else SPAN_SCORES
        if self.best_by in others:
            what = "mark spans" if has_spans(self.labels.names) else "mark no spans"
            there = "span_f1" if has_spans(self.labels.names) else "macro_f1"
            raise InputError(
                f"--best_by={self.best_by}: the tags of this text {what}, so there is no such measure; take"
                f" --best_by={there}"
            )
        super().check(data, say)

    def _scores(self, sums: Mapping[str, Any]) -> dict[str, float | None]:
        names, log_probabilities = self.labels.names, sums["log_probabilities"]
        true, predicted = [], []
        for begin, end in itertools.pairwise(sums["begins"]):
            tags = sums["true"][begin:end]
            if len(tags) and (tags >= 0).all():  # Of a sentence with words without tags, spans are unknown.
                true.append(tags)
                predicted.append(best_tags(log_probabilities[begin:end], names))
        words = [np.concatenate([np.zeros(0, np.int64), *tags]) for tags in (true, predicted)]
        scores = classification_scores(*words, names)
        found = {name: scores[name] for name in ("accuracy", "macro_f1")}
        if not has_spans(names):
            return found
        spans = span_scores(*([[names[tag] for tag in tags] for tags in each] for each in (true, predicted)))
        return {"accuracy": found["accuracy"], **{name: spans[name] for name in SPAN_SCORES}}
