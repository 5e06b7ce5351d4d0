"""LayerNorm and RMSNorm of the last axis, each way one pass over the values.

Shapes: R rows of everything before the last axis, D width.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from lm_keras.layers.fused import fused, over_rows, single


def norm_weights(kind: str, width: int, biases: bool) -> dict[str, tuple[int]]:
    """Return the shapes of a norm's weights by name: `gain`, and `bias` for a LayerNorm that has one."""
    return {"gain": (width,), **({"bias": (width,)} if biases and kind == "layer" else {})}


def normalized(
    kind: str,
    x: tf.Tensor,
    gain: tf.Tensor,
    bias: tf.Tensor | None,
    epsilon: float,
    dtype: str | tf.DType = "float32",
) -> tf.Tensor:
    """Normalize each vector of width D, then scale it and, if there is a bias, shift it.

    Args:
        kind: `layer` subtracts the mean and divides by the standard deviation, `rms` divides by the root mean
            square.
        x: [..., D] float32.
        gain: [D].
        bias: [D], or None.
        epsilon: added to the variance, or to the mean square.
        dtype: of the result.

    Reference: Ba, Kiros and Hinton (2016), equation 4; Zhang and Sennrich (2019), equation 4.
    """
    weights = [gain] if bias is None else [gain, bias]
    return _norm(kind, epsilon, tf.as_dtype(dtype), bias is not None)(x, *weights)


@functools.cache
def _norm(kind: str, epsilon: float, dtype: tf.DType, biased: bool) -> Callable[..., tf.Tensor]:
    def centered(x: tf.Tensor) -> tf.Tensor:
        return x - tf.reduce_mean(x, -1, keepdims=True) if kind == "layer" else x

    def inverse(x: tf.Tensor) -> tf.Tensor:
        return tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + epsilon)

    @fused
    def forward(x: tf.Tensor, gain: tf.Tensor, *bias: tf.Tensor) -> tf.Tensor:
        x = centered(x)
        y = x * inverse(x) * gain
        return tf.cast(y + bias[0] if bias else y, dtype)

    @fused
    def backward(x: tf.Tensor, gain: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x, dy = centered(x), single(dy)
        factor = inverse(x)
        normal, d_normal = x * factor, dy * gain
        along = tf.reduce_mean(d_normal * normal, -1, keepdims=True)
        d_x = centered(d_normal - normal * along) * factor
        return d_x, over_rows(dy * normal), *([over_rows(dy)] if biased else [])

    @tf.custom_gradient
    def norm(x, gain, *bias):
        return forward(x, gain, *bias), lambda dy: backward(x, gain, dy)

    return norm
