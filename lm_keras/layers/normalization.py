"""LayerNorm and RMSNorm of the last axis, with gradients that take few passes over the values.

Shapes: R rows of everything before the last axis, D width. Everything in float32.
"""

import tensorflow as tf


def norm_weights(kind: str, width: int, biases: bool) -> dict[str, tuple[int]]:
    """Return the shapes of a norm's weights by name: `gain`, and `bias` for a LayerNorm that has one."""
    return {"gain": (width,), **({"bias": (width,)} if biases and kind == "layer" else {})}


def normalized(kind: str, x, gain, bias, epsilon: float):
    """Normalize each vector of width D, then scale it and, if there is a bias, shift it.

    Args:
        kind: `layer` subtracts the mean and divides by the standard deviation, `rms` divides by the root mean square.
        x: [..., D] float32.
        gain: [D].
        bias: [D], or None.
        epsilon: added to the variance, or to the mean square.

    Reference: Ba, Kiros and Hinton (2016), equation 4; Zhang and Sennrich (2019), equation 4.
    """
    scaled = (_layer if kind == "layer" else _rms)(epsilon)(x, gain)
    return scaled if bias is None else scaled + bias


def _layer(epsilon):
    @tf.custom_gradient
    def scaled(x, gain):
        centered = x - tf.reduce_mean(x, -1, keepdims=True)
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), -1, keepdims=True) + epsilon)
        normal = centered * inverse

        def gradient(dy):
            d_normal = dy * gain
            mean = tf.reduce_mean(d_normal, -1, keepdims=True)
            along = tf.reduce_mean(d_normal * normal, -1, keepdims=True)
            return (d_normal - mean - normal * along) * inverse, _over_rows(dy * normal)

        return normal * gain, gradient

    return scaled


def _rms(epsilon):
    @tf.custom_gradient
    def scaled(x, gain):
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + epsilon)
        normal = x * inverse

        def gradient(dy):
            d_normal = dy * gain
            along = tf.reduce_mean(d_normal * normal, -1, keepdims=True)
            return (d_normal - normal * along) * inverse, _over_rows(dy * normal)

        return normal * gain, gradient

    return scaled


def _over_rows(values):
    """Sum [..., D] over all but the last axis."""
    return tf.reduce_sum(tf.reshape(values, [-1, values.shape[-1]]), 0)
