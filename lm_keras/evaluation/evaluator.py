"""Score a whole split, every target once; the value depends on the split and the weights alone."""

from typing import Any

import keras
import tensorflow as tf

from lm_keras.data.store import TokenStore
from lm_keras.tasks.task import Task


class Evaluator:
    """Scores splits with one compiled function.

    Args:
        model: a network with `forward`, `project` and `initial_state`.
        task: says which targets a split has, what is needed of each, and which measures come of them.
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
        return self.measured(self.sums(store), store, split, step)

    def measured(self, sums: dict[str, Any], store: TokenStore, split: str, step: int) -> dict:
        """Return what `__call__` does, of what `sums` has returned."""
        counts = store.counts
        return {
            "step": step,
            "split": split,
            "tokens": sums["targets"],
            "bytes": counts.bytes,
            "words": counts.words,
            "characters": counts.characters,
            "unknown": counts.unknown,
            **self._task.measures(sums, counts),
        }

    def sums(self, store: TokenStore) -> dict[str, Any]:
        """Return what the measures of a split are made of, by name; see `lm_keras.tasks.task.Tally`."""
        tally, state = self._task.tally(store), None
        for batch in self._task.scored(store):
            if state is None:
                state = self._model.initial_state(len(batch.targets))
            found, state = self._block(batch.inputs, batch.targets, state)
            tally.add(batch, {name: values.numpy() for name, values in found.items()})
        return tally.sums

    def _score_block(self, inputs, targets, state):
        features, state = self._model.forward(inputs, state)
        return self._task.observed(self._model.project(features), targets), state
