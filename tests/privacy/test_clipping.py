"""Clipped sums by ghost norms against gradients of single rows, variable by variable."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import registry
from lm_keras.config import from_flat
from lm_keras.data.batch import Batch
from lm_keras.layers import taps
from lm_keras.models import FAMILIES
from lm_keras.privacy import clipping
from lm_keras.privacy.row_loss import row_objective
from lm_keras.training.building import freeze

V, B, T = 19, 6, 7

GPT = {"model": "gpt", "embedding_dim": 8, "num_heads": 2, "num_layers": 2, "hidden_units": 12, "jit": "off"}
LLAMA = {"positions": "rotary", "norm": "rms", "activation": "swiglu", "biases": False, "num_kv_heads": 1}
NETWORKS = {
    "lstm": {"model": "lstm", "num_layers": 2},
    "lstm_tied": {"model": "lstm", "tie_embeddings": True},
    "lstm_compiled": {"model": "lstm", "num_layers": 2, "jit": "parts"},
    "ngram": {"model": "ngram", "num_layers": 2},
    "ngram_tied": {"model": "ngram", "tie_embeddings": True},
    "ngram_direct": {"model": "ngram", "direct_connections": True},
    "gpt": GPT,
    "gpt_untied": {**GPT, "tie_embeddings": False, "post_norm": False, "separate_documents": True},
    "llama": {**GPT, **LLAMA},
    "lstm_frozen": {"model": "lstm", "tie_embeddings": True, "freeze": "embedding"},
    "qwen3": {**GPT, **LLAMA, "qkv_biases": True, "qk_norm": True},
}


def test_every_family_that_says_so_is_compared():
    claims = {name for name, family in registry.FAMILIES.items() if "ghost_norms" in family.capabilities}
    assert claims == {settings["model"] for settings in NETWORKS.values()}


def network(**settings):
    """Return a network whose weights are all away from where they begin, and with tokens that repeat."""
    frozen = settings.pop("freeze", "none")
    config = from_flat({"embedding_dim": 5, "hidden_units": 11, "sequence_length": T, **settings})
    keras.utils.set_random_seed(3)
    model = FAMILIES[config.model.model](config, V)
    freeze(model, frozen)
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + random.normal(size=variable.shape, scale=0.2))
    return model


def batch_of(rows=B):
    random = np.random.default_rng(2)
    tokens = random.integers(0, V, [rows, T + 1]).astype(np.int32)
    tokens[:, 2] = tokens[:, 4]
    weights = np.ones([rows, T], np.float32)
    weights[1, 3:], weights[4] = 0, 0
    inputs = {
        "tokens": tf.constant(tokens[:, :-1]),
        "reset": tf.ones([rows], tf.bool),
        "document": tf.cumsum(tf.cast(tokens[:, :-1] == 3, tf.int32), axis=1),
    }
    return Batch(inputs, tf.constant(tokens[:, 1:]), tf.constant(weights))


def row_by_row(model, batch, objective, variables):
    """Return the gradient of each row as a list of variables, [B, ...] each."""
    found = []
    for row in range(batch.weights.shape[0]):
        inputs, targets, weights = tf.nest.map_structure(lambda v, row=row: v[row : row + 1], batch)
        with tf.GradientTape() as tape:
            features, _ = model.forward(inputs, model.initial_state(1))
            loss, _ = objective(model.project(features), targets, weights)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        found.append([tf.convert_to_tensor(gradient).numpy() for gradient in gradients])
    return [np.stack(parts) for parts in zip(*found)]


def traced(way, model, batch, objective, clip, variables):
    run = tf.function(lambda batch: way(model, batch, objective, clip, variables), autograph=False)
    totals, sums, norms = run(batch)
    return [total.numpy() for total in totals], {k: float(v) for k, v in sums.items()}, norms.numpy()


def norms_of(gradients):
    return np.sqrt(sum((gradient.reshape(len(gradient), -1) ** 2).sum(1) for gradient in gradients))


def far(a, b):
    return np.abs(a - b).max() > 1e-5 * max(np.abs(b).max(), 1e-3)


FEW = ("lstm", "lstm_compiled", "ngram_direct", "gpt")
"""What the default tests look at; `-m slow` looks at all."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FEW)) for name in NETWORKS]
)
def test_ghost_norms_equal_row_by_row_for_every_variable(name):
    model, batch, objective = network(**NETWORKS[name]), batch_of(), row_objective(0.1, 0.01)
    rows = row_by_row(model, batch, objective, model.trainable_variables)
    variables = model.trainable_variables
    norms = norms_of(rows)
    clip = float(np.median(norms))
    scale = np.minimum(1, clip / np.maximum(norms, 1e-30))
    for way in (clipping.ghost, clipping.mapped) if name in ("lstm", "gpt") else (clipping.ghost,):
        totals, sums, found = traced(way, model, batch, objective, clip, variables)
        assert not far(found, norms)
        assert sums["weight"] == float(tf.reduce_sum(batch.weights))
        for variable, total, gradient in zip(variables, totals, rows, strict=True):
            assert not far(total, np.tensordot(scale, gradient, 1)), (way.__name__, variable.path)
    # Alone each variable has the norm of its own gradients, and the control: without one whose gradients are
    # not so small that float32 loses them, the whole is other.
    for number, variable in enumerate(variables):
        own = norms_of(rows[number : number + 1])
        _, _, found = clipping.ghost(model, batch, objective, clip, [variable])
        assert not far(found.numpy(), own), variable.path
        if np.max(own) > 0.05 * np.max(norms):
            assert far(np.sqrt(np.maximum(norms**2 - own**2, 0)), norms), variable.path


@pytest.mark.parametrize(
    ("name", "lost"),
    [("gpt", "product"), ("gpt", "lookup"), ("gpt", "norm"), ("lstm", "lookup"), ("lstm", "recurrence")],
)
def test_a_use_that_is_not_handed_over_is_noticed(monkeypatch, name, lost):
    monkeypatch.setattr(taps, lost, lambda *args, **settings: None)
    model, batch, objective = network(**NETWORKS[name]), batch_of(), row_objective()
    with pytest.raises(ValueError, match="the network does not hand over how it uses"):
        clipping.ghost(model, batch, objective, 1.0, model.trainable_variables)


def test_weights_that_serve_a_row_twice_are_noticed(monkeypatch):
    """Ghost norms of both uses would leave out what they have in common."""
    product = taps.product

    def twice(*args, **settings):
        product(*args, **settings)
        product(*args, **settings)

    monkeypatch.setattr(taps, "product", twice)
    model, batch = network(model="ngram"), batch_of()
    with pytest.raises(ValueError, match=r"does not use .* once for each row"):
        clipping.ghost(model, batch, row_objective(), 1.0, model.trainable_variables)


@pytest.mark.parametrize(("label_smoothing", "z_loss"), [(0.0, 0.0), (0.1, 0.01)])
def test_the_compiled_loss_of_rows_is_the_same(label_smoothing, z_loss):
    random, batch = np.random.default_rng(6), batch_of()
    logits = tf.constant(random.normal(size=[B, T, V], scale=2).astype(np.float32))
    found = []
    for compiled in (False, True):
        objective = row_objective(label_smoothing, z_loss, compiled)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss, sums = objective(logits, batch.targets, batch.weights)
        found.append([loss, *sums.values(), tape.gradient(loss, logits)])
    for plain, compiled in zip(*found):
        assert not far(compiled.numpy(), plain.numpy())


def test_ghost_norms_are_the_same_where_xla_compiles_the_network():
    model, batch, objective = network(**GPT), batch_of(), row_objective()
    found = []
    for compiled in (False, True):
        run = tf.function(
            lambda batch, compiled=compiled: clipping.ghost(
                model, batch, objective, 0.1, model.trainable_variables, compiled
            ),
            autograph=False,
        )
        totals, _, norms = run(batch)
        found.append([*totals, norms])
    for plain, compiled in zip(*found):
        assert not far(compiled.numpy(), plain.numpy())


def test_a_row_that_is_not_finite_counts_nothing():
    model, batch, objective = network(model="ngram"), batch_of(), row_objective()
    bad = batch._replace(weights=tf.tensor_scatter_nd_update(batch.weights, [[2, 1]], [np.inf]))
    without = batch._replace(weights=batch.weights * (np.arange(B) != 2)[:, None])
    for way in (clipping.ghost, clipping.mapped):
        totals, _, norms = traced(way, model, bad, objective, 0.1, model.trainable_variables)
        wanted, *_ = traced(way, model, without, objective, 0.1, model.trainable_variables)
        assert not np.isfinite(norms[2])
        assert not any(map(far, totals, wanted))


def test_empty_rows_add_nothing():
    model, batch, objective = network(model="lstm"), batch_of(), row_objective()
    empty = batch._replace(weights=tf.zeros_like(batch.weights))
    totals, sums, norms = traced(clipping.ghost, model, empty, objective, 0.1, model.trainable_variables)
    assert not norms.any() and not any(total.any() for total in totals) and sums["nats"] == 0
