"""GELU, ReLU, SiLU and SwiGLU, each way one pass over the values."""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from lm_keras.layers.fused import fused, over_rows, single

_SLOPE, _CUBIC = 2.0 * math.sqrt(2.0 / math.pi), 0.044715


def _gelu(x: tf.Tensor) -> tf.Tensor:
    """Return 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), computed as x sigmoid(2 sqrt(2 / pi) (...)).

    Reference: Hendrycks and Gimpel (2016), section 2, the approximation that GPT-2 uses.
    """
    return x * tf.sigmoid(x * (_SLOPE + _SLOPE * _CUBIC * x * x))


def _gelu_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    square = x * x
    gate = tf.sigmoid(x * (_SLOPE + _SLOPE * _CUBIC * square))
    return dy * gate * (1.0 + x * (1.0 - gate) * (_SLOPE + 3.0 * _SLOPE * _CUBIC * square))


def _gelu_erf(x: tf.Tensor) -> tf.Tensor:
    """Return x Phi(x), with Phi the distribution function of N(0, 1).

    Reference: Hendrycks and Gimpel (2016), section 2.
    """
    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2.0)))  # A form that TensorFlow Lite's converter knows.


def _gelu_erf_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return dy * (_phi(x) + x * tf.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi))


def _phi(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * (1.0 + tf.math.erf(x / math.sqrt(2.0)))


def _swiglu(x: tf.Tensor) -> tf.Tensor:
    """Return silu(a) b for x = [a, b] side by side: [..., 2 F] -> [..., F].

    Reference: Shazeer (2020), equation 6, without its products.
    """
    a, b = tf.split(x, 2, axis=-1)
    return a * tf.sigmoid(a) * b


def _swiglu_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    a, b = tf.split(x, 2, axis=-1)
    gate = tf.sigmoid(a)
    return tf.concat([dy * b * gate * (1.0 + a * (1.0 - gate)), dy * a * gate], -1)


def _relu(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(x, 0.0)


def _relu_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return tf.where(x > 0, dy, 0.0)


def _silu(x: tf.Tensor) -> tf.Tensor:
    """Return x sigmoid(x).

    Reference: Elfwing, Uchibe and Doya (2018), equation 5.
    """
    return x * tf.sigmoid(x)


def _silu_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(x)
    return dy * gate * (1.0 + x * (1.0 - gate))


ACTIVATIONS = {
    "gelu": (_gelu, _gelu_gradient),
    "gelu_erf": (_gelu_erf, _gelu_erf_gradient),
    "relu": (_relu, _relu_gradient),
    "silu": (_silu, _silu_gradient),
    "swiglu": (_swiglu, _swiglu_gradient),
}

WIDTHS = {"gelu": 1, "gelu_erf": 1, "relu": 1, "silu": 1, "swiglu": 2}
"""How many times as wide the values are that go in."""


def activated(kind: str, x: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """Return the activation of x + bias, in the dtype of x; in between everything is float32.

    Args:
        kind: a key of `ACTIVATIONS`.
        x: [..., D], in the dtype of a product.
        bias: [D] float32, or None.
    """
    return _activation(kind, bias is not None)(x, *([] if bias is None else [bias]))


@functools.cache
def _activation(kind: str, biased: bool) -> Callable[..., tf.Tensor]:
    value, slope = ACTIVATIONS[kind]

    def whole(x: tf.Tensor, bias: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return single(x) + bias[0] if bias else single(x)

    @fused
    def forward(x: tf.Tensor, *bias: tf.Tensor) -> tf.Tensor:
        return tf.cast(value(whole(x, bias)), x.dtype)

    @fused
    def backward(x: tf.Tensor, dy: tf.Tensor, *bias: tf.Tensor) -> tuple[tf.Tensor, ...]:
        d_x = slope(whole(x, bias), single(dy))
        return tf.cast(d_x, x.dtype), *([over_rows(d_x)] if biased else [])

    @tf.custom_gradient
    def activation(x, *bias):
        return forward(x, *bias), lambda dy: backward(x, dy, *bias)

    return activation
