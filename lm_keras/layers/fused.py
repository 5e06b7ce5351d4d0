"""Work on single values in one pass over memory: products are TensorFlow's, what stands between them is compiled by XLA.

TensorFlow carries out each operation by itself, and GELU alone has six, each of which reads and writes all values; with its
gradient one compiled pass takes a fifth of the time on a CPU. Products are faster outside of XLA there.
"""

import functools
from collections.abc import Callable

import tensorflow as tf


def fused(compute: Callable) -> Callable:
    """Compile a function of tensors where all their shapes are known when traced; else leave it as it is.

    What has unknown shapes, as the sampler's prompts have, would be compiled again for each of them.
    """
    compiled = tf.function(compute, jit_compile=True, autograph=False)

    @functools.wraps(compute)
    def call(*arguments):
        known = all(argument.shape.is_fully_defined() for argument in arguments)
        return (compiled if known and not tf.executing_eagerly() else compute)(*arguments)

    return call


def single(x):
    """Return values in float32, or as they are in float64."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def over_rows(values):
    """Sum [..., D] over all but the last axis."""
    return tf.reduce_sum(tf.reshape(values, [-1, values.shape[-1]]), 0)


@functools.cache
def _adding(biased: bool):
    forward = fused(lambda x, y, *bias: x + single(y) + (bias[0] if bias else 0.0))

    @functools.cache
    def backward(dtype):
        return fused(lambda d: (tf.cast(d, dtype), over_rows(d)) if biased else (tf.cast(d, dtype),))

    @tf.custom_gradient
    def add(x, y, *bias):
        return forward(x, y, *bias), lambda d: (d, *backward(y.dtype)(d))

    return add


def added(x, y, bias=None):
    """Return x + y + bias: x [..., D] float32, y in the dtype of a product, bias [D] or None."""
    return _adding(bias is not None)(x, y, *([] if bias is None else [bias]))
