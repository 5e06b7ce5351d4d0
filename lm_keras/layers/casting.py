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
            returns them turned back, which costs nothing where a product follows.

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
            table = model.embedding.embeddings if hasattr(model, "embedding") else None
            self._matrices = [
                v for v in model.weights if len(v.shape) == 2 and (v is not table or model.tie_embeddings)
            ]
            # As output matrix the table is transposed already.
            self._turned = [transposed and v is not table for v in self._matrices]
        self.specs = [
            tf.TensorSpec(variable.shape[::-1] if turned else variable.shape, self._dtype)
            for variable, turned in zip(self._matrices, self._turned)
        ]

    def made(self) -> list[tf.Tensor]:
        """Cast the weights as they are now."""
        cast_now = [tf.cast(tf.convert_to_tensor(variable), self._dtype) for variable in self._matrices]
        return self._turned_over(cast_now)

    @contextlib.contextmanager
    def used(self, made: list[tf.Tensor]):
        """Have `cast` return what was made; what is traced within may be the body of a loop."""
        keys = [(id(variable), self._dtype) for variable in self._matrices]
        token = _CAST.set(dict(zip(keys, self._turned_over(made), strict=True)))
        try:
            yield
        finally:
            _CAST.reset(token)

    def _turned_over(self, matrices):
        """Turn those that are kept transposed, or turn them back."""
        return [
            tf.transpose(matrix) if turned else matrix
            for matrix, turned in zip(matrices, self._turned, strict=True)
        ]
