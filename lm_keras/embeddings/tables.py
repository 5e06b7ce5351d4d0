"""The two tables of a run and the compiled step on them, which touches the rows that it uses and no others."""

import numpy as np
import tensorflow as tf

from lm_keras.embeddings.batches import Batch
from lm_keras.embeddings.objectives import METHODS
from lm_keras.embeddings.settings import EmbeddingConfig


class Tables:
    """Input and output vectors, and how a batch changes them: plain stochastic gradient descent.

    Neither memory nor time of a step grows with the vocabulary: rows are gathered, and their gradients are added where
    they lie, one after the other, so that the sum is the same each time (`scatter_nd`; `scatter_add` shares them among threads).

    Args:
        vocab_size: V.
        settings: of the run.

    Attributes:
        inputs: [V, D], the vectors that one wants: U(-1 / 2D, 1 / 2D) at first, as in word2vec.
        outputs: [V, D], those of words as predictions: 0 at first.
    """

    def __init__(self, vocab_size: int, settings: EmbeddingConfig):
        width = settings.embedding_dim
        bound = 0.5 / width
        drawn = tf.random.stateless_uniform([vocab_size, width], [settings.seed, 0], -bound, bound)
        self.inputs = tf.Variable(drawn, name="inputs")
        self.outputs = tf.Variable(tf.zeros([vocab_size, width]), name="outputs")
        self._method, self._negatives = METHODS[settings.method], settings.negatives
        self._step = tf.function(self._updated, autograph=False, reduce_retracing=True)

    def step(self, batch: Batch, rate: float) -> tuple[float, int]:
        """Change the tables; return the sum of the losses before, and how many predictions there were."""
        arrays = (batch.near, batch.part, batch.window, batch.drawn)
        loss, count = self._step(*map(tf.constant, arrays), tf.constant(rate, tf.float32))
        return float(loss), int(count)

    def _updated(self, near, part, window, drawn, rate):
        asked = self._method(self.inputs, self.outputs, near, part, window, drawn, self._negatives)
        for table, (ids, gradient) in ((self.inputs, asked.first), (self.outputs, asked.second)):
            table.scatter_nd_sub(ids[..., None], rate * gradient)
        return asked.loss, asked.count

    def tensors(self) -> dict[str, list[tf.Variable]]:
        """Return what a checkpoint holds."""
        return {"tables": [self.inputs, self.outputs]}

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Return the input vectors of some words, [n, D] float32."""
        return tf.gather(self.inputs, ids).numpy()
