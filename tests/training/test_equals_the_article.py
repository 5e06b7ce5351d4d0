"""The article's listing under Keras, and the same network under this package's step: the same losses."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import FIELDS, from_flat
from lm_keras.data.order import WindowOrder
from lm_keras.data.order import build as build_order
from lm_keras.data.pipeline import next_tokens, training_batches
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.fields import kind_of
from lm_keras.models import FAMILIES, article

FLAGS = Path(__file__).parents[2] / "configs" / "article.flags"
STEPS, V = 24, 1000


@pytest.fixture(scope="module")
def config():
    """The settings of configs/article.flags for a few steps; the text is made up here."""
    lines = FLAGS.read_text().splitlines()
    given = dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--"))
    assert given["vocab_size"] == str(V)
    settings = {name: kind_of(FIELDS[name])[0](value) for name, value in given.items() if name in FIELDS}
    del settings["epochs"]
    return from_flat({**settings, "steps": STEPS, "steps_per_call": 6, "log_every": 10**6})


@pytest.fixture(scope="module")
def store():
    """Words as frequent as words are, in ten batches and 20 windows: three epochs, a batch that is
    not full.
    """
    count = 32 * (32 * 10 + 20)
    tokens = np.minimum(np.random.default_rng(5).zipf(1.3, count + 1), V) - 1
    counts = TextCounts(tokens=count, bytes=3 * count, words=count, characters=3 * count)
    return TokenStore(tokens.astype(np.uint16), np.array([1]), counts)


class Adam(keras.optimizers.Adam):
    """Adam as it is defined. Keras's own, given a sparse gradient, squares the rows of one token before it
    sums them.
    """

    def apply(self, grads, trainable_variables=None):
        return super().apply([tf.convert_to_tensor(grad) for grad in grads], trainable_variables)


@pytest.fixture(scope="module")
def listing(config, store):
    """The article's listing, and a function that trains it from given weights and returns the loss of each
    batch.
    """
    keras.utils.set_random_seed(5)
    model = article.build()
    assert type(model.optimizer) is keras.optimizers.Adam
    model.compile(Adam.from_config(model.optimizer.get_config()), model.loss, metrics=["accuracy"])
    batches = config.batches
    model.build((None, batches.sequence_length))
    model.optimizer.build(model.trainable_variables)
    begun = [variable.numpy() for variable in model.optimizer.variables]
    order = build_order(
        "window", len(store.tokens) - 1, batches.batch_size, batches.sequence_length, batches.seed
    )

    def batch(rows, step):
        return next_tokens(store, rows)

    def losses_from(weights):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, begun, strict=True):
            variable.assign(value)
        losses = []
        for inputs, targets, there in training_batches(batch, order, 0, STEPS):
            rows = there.numpy().all(axis=1)  # Keras gets the rows that are there
            one_hot = np.eye(V, dtype=np.float32)[targets.numpy()[rows]]
            model.reset_metrics()  # else it returns the mean of all batches so far
            losses.append(model.train_on_batch(inputs["tokens"].numpy()[rows], one_hot)[0])
        return np.array(losses)

    return model.get_weights(), losses_from


def family_network(config, weights):
    embedding, kernel, recurrent_kernel, bias, output, output_bias = weights
    model = FAMILIES[config.model.model](config, V)
    for variable, value in [
        (model.embedding.embeddings, embedding),
        (model.recurrent[0].kernel, kernel),
        (model.recurrent[0].recurrent_kernel, recurrent_kernel),
        (model.recurrent[0].bias, bias),
        (model.output_kernel, output),
        (model.output_bias, output_bias),
    ]:
        variable.assign(value)
    assert model.count_params() == 219_240
    return model


def test_the_same_losses_as_the_listing(config, store, listing, fit, monkeypatch):
    # Keras gets whole rows only, and the first window of a later epoch is part of one.
    monkeypatch.setattr(WindowOrder, "_shift", lambda self, epoch: tf.zeros([], tf.int64))
    weights, losses_from = listing
    run, losses = fit(config, lambda: family_network(config, weights), store), losses_from(weights)
    assert len(losses) == STEPS
    assert losses[-1] < losses[0] - 0.3
    np.testing.assert_allclose(run.losses, losses, rtol=0, atol=1e-4)
    # The comparison can fail: without Keras's forget bias of 1.
    other = losses_from([*weights[:3], np.zeros_like(weights[3]), *weights[4:]])
    assert np.abs(run.losses - other).max() > 1e-3
