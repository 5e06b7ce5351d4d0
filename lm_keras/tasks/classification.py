"""Predict the label of each example."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lm_keras.objectives.scores import classification_scores
from lm_keras.tasks.labelled import Labelled


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Classification(Labelled):
    """Predict one label of a whole example, K examples of a row.

    An example that is too long is cut, also where it is scored. In windows it has the mean of their
    log-probabilities.
    """

    name = "classification"
    fields = ("text", "label")
    best: ClassVar[tuple[str, str]] = ("accuracy", "high")

    def _scores(self, sums: Mapping[str, Any]) -> dict[str, float | None]:
        known = sums["true"] >= 0
        predicted = np.argmax(sums["log_probabilities"][known], axis=1)
        scores = classification_scores(sums["true"][known], predicted, self.labels.names)
        return {name: scores[name] for name in ("accuracy", "macro_f1", "mcc")}
