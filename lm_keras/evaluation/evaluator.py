"""Score a whole split, every target once; the value depends on the split and the weights alone."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.data.store import TokenStore
from lm_keras.objectives.losses import SUMS, of_targets
from lm_keras.tasks.task import Task


class Evaluator:
    """Scores splits with one compiled function.

    Args:
        model: a network with `forward`, `project` and `initial_state`.
        task: says which targets a split has, and which measures come of them.
    """

    def __init__(self, model: keras.Model, task: Task):
        self._model, self._task = model, task
        # Traced for each shape, so that the same program scores a split whichever splits were scored before.
        self._block = tf.function(self._score_block, autograph=False)

    def __call__(self, store: TokenStore, split: str, step: int) -> dict[str, Any]:
        """Return the fields of `evaluate.py --json` and the accuracy.

        Args:
            store: the tokenized split.
            split: its name.
            step: the step of the weights.
        """
        sums, targets, state = dict.fromkeys(SUMS, 0), 0, None
        for batch in self._task.scored(store):
            if state is None:
                state = self._model.initial_state(len(batch.targets))
            found, state = self._block(batch.inputs, batch.targets, state)
            for name, values in found.items():
                sums[name] += _summed(values.numpy(), batch.weights)
            sums["weight"] += float(np.sum(batch.weights, dtype=np.float64))
            targets += int(np.count_nonzero(batch.weights))
        counts = store.counts
        return {
            "step": step,
            "split": split,
            "tokens": targets,
            "bytes": counts.bytes,
            "words": counts.words,
            "characters": counts.characters,
            "unknown": counts.unknown,
            **self._task.measures(sums, counts),
        }

    def _score_block(
        self, inputs: Mapping[str, tf.Tensor], targets: tf.Tensor, state: Any
    ) -> tuple[dict[str, tf.Tensor], Any]:
        """Return what is summed over the targets [B, K], by name, and the state after them."""
        features, state = self._model.forward(inputs, state)
        return of_targets(self._model.project(features), targets), state


def _summed(values: np.ndarray, weights: np.ndarray) -> float | int:
    """Sum values of targets [B, K], as a training step does: numbers times their weights; of bools those with
    a weight are counted.
    """
    if values.dtype == bool:
        return int(np.sum(values * (weights > 0)))
    return float(np.sum(values * weights, dtype=np.float64))
