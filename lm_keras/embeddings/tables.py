"""The two tables of a run and the compiled step on them, which touches the rows that it uses and
no others.
"""

import numpy as np
import tensorflow as tf

from lm_keras.embeddings.batches import AT_ONCE, WordBatch
from lm_keras.embeddings.objectives import METHODS
from lm_keras.embeddings.settings import EmbeddingConfig


class Tables:
    """Input and output vectors, and how a batch changes them: plain stochastic gradient descent.

    Neither memory nor time of a step grows with the vocabulary: rows are gathered, and their gradients are
    added where they lie, one after the other, so that the sum is the same each time (`scatter_nd`;
    `scatter_add` shares them among threads).

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

    def step(self, batch: WordBatch, rate: float) -> tuple[float, int]:
        """Change the tables by all blocks of a batch, `AT_ONCE` of them at a time.

        Returns:
            The sum of the losses of the first ones, and how many predictions these had.
        """
        arrays = (batch.near, batch.part, batch.window, batch.drawn)
        loss, count = self._step(*map(tf.constant, arrays), tf.constant(rate, tf.float32))
        return float(loss), int(count)

    def _updated(
        self,
        near: tf.Tensor,
        part: tf.Tensor,
        window: tf.Tensor,
        drawn: tf.Tensor,
        rate: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        blocks = (near, part, window, drawn)

        def update(
            first: tf.Tensor, loss: tf.Tensor, count: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            some = [tf.slice(each, [first, 0], [AT_ONCE, -1]) for each in blocks]
            some = [tf.ensure_shape(one, [AT_ONCE, each.shape[1]]) for one, each in zip(some, blocks)]
            asked = self._method(self.inputs, self.outputs, *some, self._negatives)
            measured = tf.cond(first == 0, lambda: (asked.loss(), asked.count), lambda: (loss, count))
            with tf.control_dependencies(measured):  # Before the tables change.
                for table, (ids, gradient) in ((self.inputs, asked.first), (self.outputs, asked.second)):
                    table.scatter_nd_sub(ids[..., None], rate * gradient)
            return first + AT_ONCE, *measured

        _, loss, count = tf.while_loop(
            lambda first, *_: first < tf.shape(near)[0], update, (0, 0.0, 0.0), parallel_iterations=1
        )
        return loss, count

    def tensors(self) -> dict[str, list[tf.Variable]]:
        """Return what a checkpoint holds."""
        return {"tables": [self.inputs, self.outputs]}

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Return the input vectors of some words, [n, D] float32."""
        return tf.gather(self.inputs, ids).numpy()
