"""Heads: what turns features [..., D] into logits [..., O]. O is the vocabulary, or a number of classes."""

import keras
import tensorflow as tf

from lm_keras.layers import taps
from lm_keras.layers.casting import Int8Matrix, cast, times

SMALL_BATCH = (4, 64)
"""Rows of float32, from and to, for which a CPU takes less time with the large matrix in front."""


class Head:
    """A matrix and a bias.

    Attributes:
        bias: [O], or None.
        outputs: O.
        transposed: whether the matrix is [O, D].
    """

    transposed = False
    bias: keras.Variable | None
    outputs: int

    @property
    def matrix(self) -> keras.Variable:
        """Return the matrix, [D, O], or [O, D] if transposed."""
        raise NotImplementedError

    @property
    def weights(self) -> list[keras.Variable]:
        """Return the weights that the head has for itself."""
        raise NotImplementedError

    def output_weights(self) -> tuple[tf.Tensor, tf.Tensor | None, bool]:
        """Return `(matrix, bias, transposed)`, float32, which the training loss takes in place of logits."""
        bias = None if self.bias is None else tf.convert_to_tensor(self.bias)
        return tf.convert_to_tensor(self.matrix), bias, self.transposed

    def project(self, features: tf.Tensor) -> tf.Tensor:
        """Turn features [..., D] into logits [..., O] in float32."""
        flat = tf.reshape(features, [-1, features.shape[-1]])
        matrix = cast(self.matrix, features.dtype)
        plain = not isinstance(matrix, Int8Matrix) and matrix.dtype == tf.float32
        if self.transposed and features.shape.rank == 2 and plain:
            logits = _small_batch_product(flat, matrix)
        else:
            logits = times(flat, matrix, self.transposed, tf.float32)
        taps.product(logits, flat, self.matrix, self.bias, features.shape[0], self.transposed)
        if self.bias is not None:
            logits += self.bias
        return tf.reshape(logits, tf.concat([tf.shape(features)[:-1], [self.outputs]], 0))


class Vocabulary(Head):
    """Logits of all tokens.

    Args:
        embedding: the token embedding, whose table [V, D] is the matrix where there is no kernel.
        kernel: [D, V], or None where the embedding is tied.
        bias: [V], or None.
    """

    def __init__(
        self,
        embedding: keras.layers.Embedding,
        kernel: keras.Variable | None,
        bias: keras.Variable | None,
    ):
        self._embedding, self._kernel, self.bias = embedding, kernel, bias
        self.transposed, self.outputs = kernel is None, embedding.input_dim

    @property
    def matrix(self) -> keras.Variable:
        return self._embedding.embeddings if self._kernel is None else self._kernel

    @property
    def weights(self) -> list[keras.Variable]:
        return [weight for weight in (self._kernel, self.bias) if weight is not None]


class Classes(Head):
    """Logits of classes.

    Args:
        kernel: [D, C].
        bias: [C].
    """

    def __init__(self, kernel: keras.Variable, bias: keras.Variable):
        self._kernel, self.bias, self.outputs = kernel, bias, kernel.shape[1]

    @property
    def matrix(self) -> keras.Variable:
        return self._kernel

    @property
    def weights(self) -> list[keras.Variable]:
        return [self._kernel, self.bias]


def _small_batch_product(rows: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Return rows [R, D] times a transposed matrix [V, D]: [R, V], for the few rows that a sampler has.

    With the large matrix in front a product of eight rows takes two thirds of the time on a CPU, one of two
    rows twice as much (`scripts/benchmark.py sample`).
    """
    first, last = SMALL_BATCH
    small = (tf.shape(rows)[0] >= first) & (tf.shape(rows)[0] <= last)
    return tf.cond(
        small,
        lambda: tf.transpose(tf.matmul(matrix, rows, transpose_b=True)),
        lambda: times(rows, matrix, transposed=True),
    )
