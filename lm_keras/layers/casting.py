"""Weights in the number format of the products; in a loop that uses them often, cast once before it."""

import contextlib
import contextvars
from collections.abc import Iterable

import tensorflow as tf

_CAST: contextvars.ContextVar[dict] = contextvars.ContextVar("cast")


def cast(variable, dtype):
    """Return a variable as a tensor of that dtype; within `cast_once`, the one that was made there."""
    there = _CAST.get({}).get((id(variable), tf.as_dtype(dtype)))
    return tf.cast(tf.convert_to_tensor(variable), dtype) if there is None else there


@contextlib.contextmanager
def cast_once(variables: Iterable, dtype):
    """Cast matrices here and now, for every `cast` of the block; what is traced within may be the body of a loop.

    Casting reads four bytes and writes two for every two that a product reads.
    """
    matrices = [variable for variable in variables if len(variable.shape) == 2]
    made = {}
    if dtype != "float32":
        made = {(id(v), tf.as_dtype(dtype)): tf.cast(tf.convert_to_tensor(v), dtype) for v in matrices}
    token = _CAST.set(made)
    try:
        yield
    finally:
        _CAST.reset(token)
