"""Work on single values in one pass over memory: products are TensorFlow's, what is between them is
compiled by XLA.

TensorFlow carries out each operation by itself, and GELU alone has six, each of which reads and writes all
values; with its gradient one compiled pass takes a fifth of the time on a CPU. Products are faster outside of
XLA there.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def fused(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors where all their shapes are known when traced; else leave it as it is.

    What has unknown shapes, as the sampler's prompts have, would be compiled again for each of them.
    """
    compiled = tf.function(compute, jit_compile=True, autograph=False)

    @functools.wraps(compute)
    def call(*arguments: tf.Tensor) -> Any:
        known = all(argument.shape.is_fully_defined() for argument in arguments)
        return (compiled if known and not tf.executing_eagerly() else compute)(*arguments)

    return call


def single(x: tf.Tensor) -> tf.Tensor:
    """Return values in float32, or as they are in float64."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def over_rows(values: tf.Tensor) -> tf.Tensor:
    """Sum [..., D] over all but the last axis."""
    return tf.reduce_sum(tf.reshape(values, [-1, values.shape[-1]]), 0)


def added(
    x: tf.Tensor,
    y: tf.Tensor,
    bias: tf.Tensor | None = None,
    keep: tf.Tensor | None = None,
    factor: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return x + y + bias, where some of y + bias is dropped.

    Args:
        x: [..., D] float32.
        y: [..., D], in the dtype of a product.
        bias: [D] float32, or None.
        keep: [..., D] bool, what stays, or None for all of it.
        factor: what stays is multiplied by it, a scalar.
    """
    weights = [] if bias is None else [bias]
    dropout = [] if keep is None else [keep, factor]
    return _adding(bool(weights), bool(dropout))(x, y, *weights, *dropout)


@functools.cache
def _adding(biased: bool, dropped: bool) -> Callable[..., tf.Tensor]:
    def kept(values: tf.Tensor, rest: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return tf.where(rest[-2], values * rest[-1], 0.0) if dropped else values

    @fused
    def forward(x: tf.Tensor, y: tf.Tensor, *rest: tf.Tensor) -> tf.Tensor:
        return x + kept(single(y) + (rest[0] if biased else 0.0), rest)

    @fused
    def backward(d: tf.Tensor, y: tf.Tensor, *rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
        d_y = kept(d, rest)
        return tf.cast(d_y, y.dtype), *([over_rows(d_y)] if biased else [])

    @tf.custom_gradient
    def add(x, y, *rest):
        def gradient(d):
            return d, *backward(d, y, *rest), *([None, None] if dropped else [])

        return forward(x, y, *rest), gradient

    return add
