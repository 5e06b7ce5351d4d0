"""Sums over the batches of a split."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lm_keras.data.batch import Batch
from lm_keras.objectives.losses import SUMS


class Tally:
    """Adds up what an evaluation says of the targets of a split."""

    def __init__(self):
        self._sums: dict[str, Any] = dict.fromkeys(SUMS, 0)
        self._targets = 0

    def add(self, batch: Batch, found: Mapping[str, np.ndarray]) -> None:
        """Take in a batch.

        Args:
            batch: its weights are NumPy arrays.
            found: what `Task.observed` said of its targets.
        """
        for name, values in found.items():
            self._sums[name] = self._sums.get(name, 0) + _summed(values, batch.weights)
        self._sums["weight"] += float(np.sum(batch.weights, dtype=np.float64))
        self._targets += int(np.count_nonzero(batch.weights))

    @property
    def sums(self) -> dict[str, Any]:
        """Return what the measures are made of, by name, `targets` among it: how many were scored."""
        return {**self._sums, "targets": self._targets}


def _summed(values: np.ndarray, weights: np.ndarray) -> float | int:
    """Sum numbers of targets [B, K] times their weights; of bools those with a weight are counted."""
    if values.dtype == bool:
        return int(np.sum(values * (weights > 0)))
    return float(np.sum(values * weights, dtype=np.float64))
