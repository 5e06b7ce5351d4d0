"""R 5 rows, D 7."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.layers.activations import activated
from lm_keras.layers.fused import added, fused
from lm_keras.layers.normalization import norm_weights, normalized

RANDOM = np.random.default_rng(4)
X = (3 * RANDOM.normal(size=[5, 7]) + 1).astype(np.float32)
GAIN, BIAS, SLOPE = (RANDOM.normal(size=shape).astype(np.float32) for shape in ([7], [7], [5, 7]))


KEEP = RANDOM.random([5, 7]) > 0.4


def dropped(x, y, bias):
    return added(x, y, bias, tf.constant(KEEP), tf.constant(2.5))


GELU, SWIGLU = functools.partial(activated, "gelu"), functools.partial(activated, "swiglu")


def slopes(compute, *arguments):
    """The value, and the gradient of its sum weighted by fixed numbers for every argument."""
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
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
        (GELU, lambda x: keras.activations.gelu(x, approximate=True), (X,)),
        (GELU, lambda x, b: keras.activations.gelu(x + b, approximate=True), (X, BIAS)),
        (SWIGLU, lambda x: keras.activations.silu(x[:, :3]) * x[:, 3:], (X[:, :6],)),
        (
            SWIGLU,
            lambda x, b: keras.activations.silu(x[:, :3] + b[:3]) * (x[:, 3:] + b[3:]),
            (X[:, :6], BIAS[:6]),
        ),
        (added, lambda x, y: x + y, (X, SLOPE)),
        (added, lambda x, y, b: x + y + b, (X, SLOPE, BIAS)),
        (dropped, lambda x, y, b: x + tf.where(KEEP, 2.5 * (y + b), 0.0), (X, SLOPE, BIAS)),
    ],
    ids=[
        "layer",
        "rms",
        "gelu",
        "gelu with bias",
        "swiglu",
        "swiglu with bias",
        "sum",
        "sum with bias",
        "sum with dropout",
    ],
)
def test_values_and_gradients_equal_those_of_keras(ours, theirs, arguments):
    expected = slopes(theirs, *arguments)
    compiled = tf.function(lambda *given: slopes(ours, *given), autograph=False)(*map(tf.constant, arguments))
    for found in (slopes(ours, *arguments), compiled):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_check_can_fail():
    value, slope = slopes(GELU, X)
    exact = slopes(lambda x: keras.activations.gelu(x, approximate=False), X)
    assert np.abs(value - exact[0]).max() > 1e-5 and np.abs(slope - exact[1]).max() > 1e-5


def test_which_weights_a_norm_has():
    assert norm_weights("layer", 7, biases=True) == {"gain": (7,), "bias": (7,)}
    assert norm_weights("layer", 7, biases=False) == norm_weights("rms", 7, biases=True) == {"gain": (7,)}


def test_what_is_compiled_and_what_is_not():
    """Known shapes are; prompts of any length are not, for each length would be compiled anew."""

    def operations(spec):
        graph = (
            tf.function(lambda x: GELU(x), input_signature=[spec], autograph=False)
            .get_concrete_function()
            .graph
        )
        return {operation.type for operation in graph.get_operations()}

    assert "StatefulPartitionedCall" in operations(tf.TensorSpec([5, 7])) or "PartitionedCall" in operations(
        tf.TensorSpec([5, 7])
    )
    assert "Sigmoid" in operations(tf.TensorSpec([None, 7]))
    assert fused(lambda x: x + 1)(tf.constant(2.0)) == 3.0
