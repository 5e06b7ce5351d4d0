"""The article's listing (section 5.2) and its worked example (section 4.3)."""

import doctest
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import optimizers
from lm_keras.config import LearningConfig
from lm_keras.models import article
from lm_keras.models.ngram import NGramLanguageModel
from lm_keras.objectives.losses import next_token_loss

HELLO, WORLD = 0, 1


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return article.build()


def settings_of(layer):
    """Everything that a layer was built with, but for its name and its seeds."""
    text = str(layer.get_config() | {"name": None})
    return type(layer), re.sub(r"'seed': \d+", "'seed': None", text)


def test_the_listing_line_by_line(model):
    assert type(model) is keras.Sequential
    assert [settings_of(layer) for layer in model.layers] == [
        settings_of(keras.layers.Embedding(1000, 16)),
        settings_of(keras.layers.LSTM(128, return_sequences=True)),
        settings_of(keras.layers.Dense(1000, activation="softmax")),
    ]
    backwards = keras.layers.LSTM(128, return_sequences=True, go_backwards=True)
    assert settings_of(model.layers[1]) != settings_of(backwards)  # the comparison sees one setting


def test_the_line_with_compile(model):
    assert type(model.optimizer) is keras.optimizers.Adam
    assert float(model.optimizer.learning_rate) == pytest.approx(0.001)
    settings = model.get_compile_config()
    assert (settings["loss"], settings["metrics"]) == ("categorical_crossentropy", ["accuracy"])
    assert model.jit_compile is False


def test_the_line_with_fit(model):
    """It learns: from the uniform guess, log(1000) = 6.91 nats, down; at a learning rate of 0 it does not."""
    tokens = np.random.default_rng(5).integers(0, 13, [64, 1]) * np.arange(1, 9)  # multiples of the first
    x, y = tokens[:, :-1], np.eye(1000)[tokens[:, 1:]]
    model.build(x.shape)
    assert [np.prod(weight.shape) for weight in model.weights] == [16000, 8192, 65536, 512, 128000, 1000]
    assert model.count_params() == 219_240
    rate, model.optimizer.learning_rate = float(model.optimizer.learning_rate), 0.0
    still = model.fit(x, y, epochs=3, batch_size=32, verbose=0).history
    assert still["loss"] == pytest.approx([np.log(1000)] * 3, abs=0.01)
    model.optimizer.learning_rate = 10 * rate
    learnt = model.fit(x, y, epochs=10, batch_size=32, verbose=0).history
    assert learnt["loss"][-1] < 4 < 6.8 < learnt["loss"][0]
    assert learnt["accuracy"][-1] > 0.1 > still["accuracy"][-1]
    probabilities = model(x).numpy()
    assert probabilities.shape == (64, 7, 1000)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(article)
    assert found.attempted == 6
    assert found.failed == 0


W_H = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
W_K = [[0.1, 0.2, 0.0], [0.3, 0.4, 0.0]]


def step_in_numpy(w_h, w_k, learning_rate):
    """The article's equations and their derivatives in float64, for input Hello and target World."""
    w_h, w_k, x = np.array(w_h), np.array(w_k), np.array([1.0, 0.0])
    z = w_h @ x
    a = np.maximum(z, 0)
    y = w_k @ a
    p = np.exp(y) / np.exp(y).sum()
    d_y = p - np.array([0.0, 1.0])
    d_z = (w_k.T @ d_y) * (z > 0)
    gradients = {
        "embeddings": np.array([w_h.T @ d_z, np.zeros(2)]),
        "w_h": np.outer(d_z, x),
        "b_h": d_z,
        "w_k": np.outer(d_y, a),
        "b_k": d_y,
    }
    before = {"embeddings": np.eye(2), "w_h": w_h, "b_h": 0.0, "w_k": w_k, "b_k": 0.0}
    after = {name: before[name] - learning_rate * gradient for name, gradient in gradients.items()}
    return {"z": z, "y": y, "p": p, "loss": -np.log(p[1])}, gradients, after


def in_keras():
    """Keras's layers, and their variables in the order of the article."""
    embedding, hidden, output = (
        keras.layers.Embedding(2, 2),
        keras.layers.Dense(3, activation="relu"),
        keras.layers.Dense(2),
    )
    network = keras.Sequential([keras.Input([1], dtype="int32"), embedding, hidden, output])
    return network, [embedding.embeddings, hidden.kernel, hidden.bias, output.kernel, output.bias]


def in_lm_keras():
    """The same for this package's family: an order of 2, so that the word itself is the context."""
    network = NGramLanguageModel(2, ngram_order=2, embedding_dim=2, hidden_units=3)
    hidden, output = (network.kernels[0], network.biases[0]), (network.output_kernel, network.output_bias)
    return network, [network.embedding.embeddings, *hidden, *output]


def step_with(build, w_h, w_k, learning_rate):
    """The same with a network, this package's loss, TensorFlow's derivatives and the SGD of Keras."""
    network, variables = build()
    # Keras multiplies from the right, x W, so its kernels are the article's matrices transposed.
    given = [np.eye(2), np.transpose(w_h), np.zeros(3), np.transpose(w_k), np.zeros(2)]
    for variable, value in zip(variables, given, strict=True):
        variable.assign(value)
    optimizer = optimizers.build(LearningConfig(optimizer="sgd", learning_rate=learning_rate), variables)
    with tf.GradientTape() as tape:
        logits = network(tf.constant([[HELLO]]))  # [1, 1, 2]
        output = tf.eye(2), tf.zeros([2]), False
        found = next_token_loss(logits, output, tf.constant([[WORLD]]), tf.ones([1, 1]))
        loss = found.objective / found.sums["weight"]
    slopes = [tf.convert_to_tensor(slope) for slope in tape.gradient(loss, variables)]
    optimizer.apply(slopes, variables)

    def named(values):
        values = [np.array(value) for value in values]
        names = ("embeddings", "w_h", "b_h", "w_k", "b_k")
        return {
            name: value.T if name.startswith("w") else value
            for name, value in zip(names, values, strict=True)
        }

    values = {"y": logits[0, 0], "p": tf.nn.softmax(logits[0, 0]), "loss": loss}
    return values, named(slopes), named(variables)


BY_HAND = (
    {"y": [0.07, 0.15], "p": [0.480011, 0.519989], "loss": 0.653947},
    {
        "embeddings": [[-0.038401, -0.057601], [0, 0]],
        "w_h": [[-0.096002, 0], [-0.096002, 0], [0, 0]],
        "b_h": [-0.096002, -0.096002, 0],
        "w_k": [[0.048001, 0.144003, 0.240005], [-0.048001, -0.144003, -0.240005]],
        "b_k": [0.480011, -0.480011],
    },
    {
        "embeddings": [[1.038401, 0.057601], [0, 1]],
        "w_h": [[0.196002, 0.2], [0.396002, 0.4], [0.5, 0.6]],
        "b_h": [0.096002, 0.096002, 0],
        "w_k": [[0.051999, 0.055997, -0.240005], [0.348001, 0.544003, 0.240005]],
        "b_k": [-0.480011, 0.480011],
    },
)


def differing(step, other, tolerance=6e-7):
    """The names of all numbers of `other` that `step` does not give."""
    return {
        name
        for mine, theirs in zip(step, other, strict=True)
        for name, value in theirs.items()
        if name in mine and not np.allclose(mine[name], value, rtol=0, atol=tolerance)
    }


@pytest.mark.parametrize("build", [in_keras, in_lm_keras])
def test_the_worked_example(build):
    r"""One step of SGD by hand, section 4.3: vocabulary {Hello, World}, d = 2, three hidden units, two
    outputs.

    v_Hello = [1, 0], v_World = [0, 1], W^h = [[.1, .2], [.3, .4], [.5, .6]], b^h = 0, b^k = 0. The article
    prints W^k as [[.1, .2], [.3, .4]], a 2 x 2 matrix that cannot multiply three hidden units; here it is
    completed with a third column of zeros. It gives no learning rate; here it is 1, so that an update can be
    read off its gradient. From "Hello World" there is one thing to predict: World after Hello, so m = 1.

    Forward pass, x = v_Hello:
        z^h = W^h x              = [.1, .3, .5], and a^h = ReLU(z^h) = z^h
        y   = W^k a^h            = [.1 * .1 + .2 * .3,  .3 * .1 + .4 * .3] = [.07, .15]
        softmax                  : y_2 - y_1 = .08, so p_World = 1 / (1 + e^-.08) = 1 / 1.923116 = .519989
                                   and p_Hello = .480011
        J   = -log p_World       = log 1.923116 = .653947

    Backward pass, with the one-hot target t = [0, 1]:
        dJ/dy   = p - t          = [.480011, -.480011], which is dJ/db^k
        dJ/dW^k = dJ/dy (a^h)^T  = .480011 [[.1, .3, .5], [-.1, -.3, -.5]]
                                 = [[.048001, .144003, .240005], [-.048001, -.144003, -.240005]]
        dJ/da   = (W^k)^T dJ/dy  = .480011 [.1 - .3, .2 - .4, 0 - 0] = [-.096002, -.096002, 0]
        dJ/dz   = dJ/da, as ReLU' = 1 at .1, .3 and .5; this is dJ/db^h
        dJ/dW^h = dJ/dz x^T      = [[-.096002, 0], [-.096002, 0], [0, 0]]
        dJ/dx   = (W^h)^T dJ/dz  = -.096002 [.1 + .3, .2 + .4] = [-.038401, -.057601]

    Update, theta - 1 * dJ/dtheta:
        W^k = [[.051999, .055997, -.240005], [.348001, .544003, .240005]], b^k = [-.480011, .480011]
        W^h = [[.196002, .2], [.396002, .4], [.5, .6]], b^h = [.096002, .096002, 0]
        v_Hello = [1.038401, .057601], v_World as before
    """
    assert differing(step_in_numpy(W_H, W_K, 1.0), BY_HAND) == set()
    assert differing(step_with(build, W_H, W_K, 1.0), BY_HAND) == set()
    assert differing(step_with(build, W_H, W_K, 0.1), step_in_numpy(W_H, W_K, 0.1), 1e-7) == set()


@pytest.mark.parametrize("build", [in_keras, in_lm_keras])
def test_the_comparison_of_steps_can_fail(build):
    # Half the learning rate: all that is updated differs, nothing else does.
    assert differing(step_with(build, W_H, W_K, 0.5), BY_HAND) == {"embeddings", "w_h", "b_h", "w_k", "b_k"}
    # A third column of W^k that is not zero.
    other = [[0.1, 0.2, 0.0], [0.3, 0.4, 0.05]]
    assert {"y", "p", "loss", "b_h"} <= differing(step_with(build, W_H, other, 1.0), BY_HAND)
    # The matrices, not their transposes.
    assert "y" in differing(step_with(build, W_H, [[0.1, 0.3, 0.0], [0.2, 0.4, 0.0]], 1.0), BY_HAND)


def test_the_other_word_of_the_example():
    """x = v_World gives z^h = [.2, .4, .6] and y = [.1, .22]."""
    hidden, output = np.array(W_H)[:, 1], np.array(W_K)
    np.testing.assert_allclose(hidden, [0.2, 0.4, 0.6])
    np.testing.assert_allclose(output @ hidden, [0.1, 0.22])
    with pytest.raises(ValueError, match="matmul"):
        output[:, :2] @ hidden  # the matrix as it is printed


def test_the_step_made_the_loss_smaller():
    """With the new parameters a^h = [.311051, .530251, .553761], y = [-.567050, 1.009621], J = .187858."""
    after = BY_HAND[2]
    a = np.maximum(np.array(after["w_h"]) @ after["embeddings"][HELLO] + after["b_h"], 0)
    y = np.array(after["w_k"]) @ a + after["b_k"]
    np.testing.assert_allclose(a, [0.311051, 0.530251, 0.553761], atol=2e-6)
    np.testing.assert_allclose(y, [-0.567050, 1.009621], atol=3e-6)
    assert -np.log(np.exp(y)[WORLD] / np.exp(y).sum()) == pytest.approx(0.187858, abs=1e-6)
    assert BY_HAND[0]["loss"] > 0.187858
