"""Score a whole split, every target once; the value depends on the split and the weights alone."""

import keras
import numpy as np
import tensorflow as tf

from lm_keras.data.store import TokenStore
from lm_keras.objectives.losses import SUMS, per_token_nats
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

    def __call__(self, store: TokenStore, split: str, step: int) -> dict:
        """Return the fields of `evaluate.py --json` and the accuracy.

        Args:
            store: the tokenized split.
            split: its name.
            step: the step of the weights.
        """
        sums, targets, state = dict.fromkeys(SUMS, 0.0), 0, None
        for batch in self._task.scored(store):
            if state is None:
                state = self._model.initial_state(len(batch.targets))
            losses, hits, state = self._block(batch.inputs, batch.targets, state)
            sums["nats"] += float(np.sum(losses.numpy() * batch.weights, dtype=np.float64))
            sums["correct"] += int(np.sum(hits.numpy() * (batch.weights > 0)))
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

    def _score_block(self, inputs, targets, state):
        features, state = self._model.forward(inputs, state)
        logits = self._model.project(features)
        best = tf.reduce_max(logits, axis=-1) <= tf.gather(logits, targets, batch_dims=2)
        return per_token_nats(logits, targets), best, state
