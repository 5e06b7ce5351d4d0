"""GELU and SwiGLU, with gradients that take few passes over the values."""

import math

import tensorflow as tf

_SLOPE, _CUBIC = 2.0 * math.sqrt(2.0 / math.pi), 0.044715


@tf.custom_gradient
def gelu(x):
    """Return 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), computed as x sigmoid(2 sqrt(2 / pi) (...)).

    Reference: Hendrycks and Gimpel (2016), section 2, the approximation that GPT-2 uses.
    """
    square = x * x
    gate = tf.sigmoid(x * (_SLOPE + _SLOPE * _CUBIC * square))
    outputs = x * gate

    def gradient(d_outputs):
        slope = _SLOPE + 3.0 * _SLOPE * _CUBIC * square
        return d_outputs * (gate + outputs * (1.0 - gate) * slope)

    return outputs, gradient


@tf.custom_gradient
def swiglu(x):
    """Return silu(a) b for x = [a, b] side by side: [..., 2 F] -> [..., F].

    Reference: Shazeer (2020), equation 6, without its products.
    """
    a, b = tf.split(x, 2, axis=-1)
    gate = tf.sigmoid(a)
    silu = a * gate

    def gradient(d_outputs):
        d_a = d_outputs * b * (gate + silu * (1.0 - gate))
        return tf.concat([d_a, d_outputs * silu], -1)

    return silu * b, gradient


ACTIVATIONS = {"gelu": gelu, "swiglu": swiglu}

WIDTHS = {"gelu": 1, "swiglu": 2}
"""How many times as wide the values are that go in."""
