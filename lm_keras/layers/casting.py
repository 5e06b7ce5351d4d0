"""Weights in the number format of the products; where they stay as they are for long, as in a sampler, cast once."""

import contextlib
import contextvars

import keras
import tensorflow as tf

_CAST: contextvars.ContextVar[dict] = contextvars.ContextVar("cast")


def cast(variable, dtype):
    """Return a variable as a tensor of that dtype; within `CastOnce.used`, the one that was made before."""
    there = _CAST.get({}).get((id(variable), tf.as_dtype(dtype)))
    return tf.cast(tf.convert_to_tensor(variable), dtype) if there is None else there


class CastOnce:
    """The matrices of a network in the number format of its products, for as long as its weights stay as they are.

    Casting reads four bytes and writes two for every two that a product reads. In float32 there is nothing to cast, and a
    table that is only looked up in stays as it is.

    Args:
        model: a network, built.
        transposed: keep them transposed, since XLA's product of one row in bfloat16 reads them ten times as fast; `cast`
            returns them turned back, which XLA, and TensorFlow as it optimizes a graph, make part of the product that follows.

    Attributes:
        specs: of what `made` returns.

    Example:
        >>> matrices = CastOnce(model)
        >>> tensors = matrices.made()
        >>> with matrices.used(tensors):
        ...     features, state = model.forward(inputs, state)
    """

    def __init__(self, model: keras.Model, transposed: bool = False):
        self._dtype, self._matrices, self._turned = tf.as_dtype(model.compute_dtype), [], []
        if self._dtype != tf.float32:
            table, tied = model.embedding.embeddings, model.tie_embeddings
            self._matrices = [v for v in model.weights if len(v.shape) == 2 and (tied or v is not table)]
            # As output matrix the table is transposed already.
            self._turned = [transposed and v is not table for v in self._matrices]
        self.specs = [
            tf.TensorSpec(variable.shape[::-1] if turned else variable.shape, self._dtype)
            for variable, turned in zip(self._matrices, self._turned)
        ]

    def made(self) -> list[tf.Tensor]:
        """Cast the weights as they are now."""
        there = zip(self._matrices, self._turned)
        return [_turned(tf.cast(tf.convert_to_tensor(v), self._dtype), turned) for v, turned in there]

    @contextlib.contextmanager
    def used(self, made: list[tf.Tensor]):
        """Have `cast` return what was made; what is traced within may be the body of a loop."""
        keys = [(id(variable), self._dtype) for variable in self._matrices]
        back = [_turned(matrix, turned) for matrix, turned in zip(made, self._turned, strict=True)]
        token = _CAST.set(dict(zip(keys, back, strict=True)))
        try:
            yield
        finally:
            _CAST.reset(token)


def _turned(matrix, turned: bool):
    return tf.transpose(matrix) if turned else matrix
