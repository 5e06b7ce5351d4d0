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

    Attributes:
        specs: of what `made` returns.

    Example:
        >>> matrices = CastOnce(model)
        >>> tensors = matrices.made()
        >>> with matrices.used(tensors):
        ...     features, state = model.forward(inputs, state)
    """

    def __init__(self, model: keras.Model):
        self._dtype = tf.as_dtype(model.compute_dtype)
        self._matrices = []
        if self._dtype != tf.float32:
            table = None if model.tie_embeddings else model.embedding.embeddings
            self._matrices = [v for v in model.weights if len(v.shape) == 2 and v is not table]
        self.specs = [tf.TensorSpec(variable.shape, self._dtype) for variable in self._matrices]

    def made(self) -> list[tf.Tensor]:
        """Cast the weights as they are now."""
        return [tf.cast(tf.convert_to_tensor(variable), self._dtype) for variable in self._matrices]

    @contextlib.contextmanager
    def used(self, made: list[tf.Tensor]):
        """Have `cast` return what was made; what is traced within may be the body of a loop."""
        keys = [(id(variable), self._dtype) for variable in self._matrices]
        token = _CAST.set(dict(zip(keys, made, strict=True)))
        try:
            yield
        finally:
            _CAST.reset(token)
