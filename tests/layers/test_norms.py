"""R 5 rows, D 7."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.layers.activations import gelu, swiglu
from lm_keras.layers.normalization import norm_weights, normalized

RANDOM = np.random.default_rng(4)
X = (3 * RANDOM.normal(size=[5, 7]) + 1).astype(np.float32)
GAIN, BIAS, SLOPE = (RANDOM.normal(size=shape).astype(np.float32) for shape in ([7], [7], [5, 7]))


def slopes(compute, *arguments):
    """The value, and the gradient of its sum weighted by fixed numbers for every argument."""
    arguments = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = compute(*arguments)
        total = tf.reduce_sum(value * SLOPE[:, : value.shape[-1]])
    return [value, *tape.gradient(total, arguments)]


def keras_layer(x, gain, bias):
    layer = keras.layers.LayerNormalization(epsilon=0.1)
    layer.build(x.shape)
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    ours = (x - mean) / tf.sqrt(variance + 0.1) * gain + bias
    layer.gamma.assign(gain)
    layer.beta.assign(bias)
    np.testing.assert_allclose(ours, layer(x), atol=1e-5)
    return ours


def keras_rms(x, gain):
    layer = keras.layers.RMSNormalization(epsilon=0.1)
    layer.build(x.shape)
    layer.scale.assign(gain)
    ours = x / tf.sqrt(tf.reduce_mean(x * x, -1, keepdims=True) + 0.1) * gain
    np.testing.assert_allclose(ours, layer(x), atol=1e-5)
    return ours


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (lambda x, gain, bias: normalized("layer", x, gain, bias, 0.1), keras_layer, (X, GAIN, BIAS)),
        (lambda x, gain: normalized("rms", x, gain, None, 0.1), keras_rms, (X, GAIN)),
        (gelu, lambda x: keras.activations.gelu(x, approximate=True), (X,)),
        (
            swiglu,
            lambda x: keras.activations.silu(x[:, :3]) * x[:, 3:],
            (X[:, :6],),
        ),
    ],
    ids=["layer", "rms", "gelu", "swiglu"],
)
def test_values_and_gradients_equal_those_of_keras(ours, theirs, arguments):
    for found, expected in zip(slopes(ours, *arguments), slopes(theirs, *arguments), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_check_can_fail():
    value, slope = slopes(gelu, X)
    exact = slopes(lambda x: keras.activations.gelu(x, approximate=False), X)
    assert np.abs(value - exact[0]).max() > 1e-5 and np.abs(slope - exact[1]).max() > 1e-5


def test_which_weights_a_norm_has():
    assert norm_weights("layer", 7, biases=True) == {"gain": (7,), "bias": (7,)}
    assert norm_weights("layer", 7, biases=False) == norm_weights("rms", 7, biases=True) == {"gain": (7,)}
