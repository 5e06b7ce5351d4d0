"""Every optimizer by its name, on a matrix 5 x 7, an embedding 13 x 3 and a bias of 7."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import optimizers, registry
from lm_keras.config import FIELDS, LearningConfig, from_flat
from lm_keras.objectives.regularizers import is_matrix
from lm_keras.registry import families_with
from lm_keras.training import building, distribution

NAMES = FIELDS["optimizer"].metadata["choices"]
RANDOM = np.random.default_rng(4)
VALUES = {
    "kernel": RANDOM.normal(size=[5, 7]),
    "embedding/embeddings": RANDOM.normal(size=[13, 3]),
    "bias": RANDOM.normal(size=[7]),
}
SLOPES = [tf.constant(RANDOM.normal(size=value.shape), tf.float32) for value in VALUES.values()]
ZEROS = [tf.zeros_like(slope) for slope in SLOPES]


def variables():
    return [
        keras.Variable(value.astype(np.float32), name=name.replace("/", "_"))
        for name, value in VALUES.items()
    ]


def built(given, **settings):
    return optimizers.build(dataclasses.replace(LearningConfig(), **settings), given)


def changes(given):
    """How far each variable is from where it began."""
    return [np.abs(now.numpy() - then).max() for now, then in zip(given, VALUES.values())]


def test_every_name_has_an_optimizer():
    assert tuple(optimizers.OPTIMIZERS) == NAMES
    ours = {name for name, kind in optimizers.OPTIMIZERS.items() if kind.__module__ == optimizers.__name__}
    assert ours == optimizers.ONE_PASS == {"sgd", "momentum", "adam", "adamw"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [False, True])
def test_takes_a_step(name, compiled):
    given = variables()
    optimizer = built(given, optimizer=name, learning_rate=0.01)
    assert optimizer.built
    slots = len(optimizer.variables)
    step = lambda: optimizer.apply(SLOPES, given)  # noqa: E731
    (tf.function(step) if compiled else step)()
    assert optimizer.iterations.numpy() == 1
    assert len(optimizer.variables) == slots  # nothing is made within the step
    assert min(changes(given)) > 1e-5
    assert max(changes(given)) < 0.2
    assert all(np.isfinite(variable.numpy()).all() for variable in given)
    again = variables()
    built(again, optimizer=name, learning_rate=0.0101).apply(SLOPES, again)
    assert any(np.any(one.numpy() != two.numpy()) for one, two in zip(given, again))


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_acts_on_matrices_only(name):
    given = variables()
    optimizer = built(given, optimizer=name, learning_rate=0.05, weight_decay=0.4)
    optimizer.apply(ZEROS, given)
    for variable, value in zip(given, VALUES.values(), strict=True):
        kept = 1 - 0.05 * 0.4 if is_matrix(variable) else 1.0
        np.testing.assert_allclose(variable, kept * value, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_without_weight_decay_nothing_decays(name):
    given = variables()
    built(given, optimizer=name, learning_rate=0.05).apply(ZEROS, given)
    for variable, value in zip(given, VALUES.values(), strict=True):
        np.testing.assert_array_equal(variable, value.astype(np.float32))


def test_the_check_of_decay_can_fail():
    """What Keras does when nobody excludes the bias, and when nobody sets the second decay of Muon."""
    given = variables()
    keras.optimizers.AdamW(0.05, weight_decay=0.4).apply(ZEROS, given)
    assert changes(given)[2] > 0.01
    given = variables()
    keras.optimizers.Muon(0.05, weight_decay=0.0).apply(ZEROS, given)
    assert [change > 1e-5 for change in changes(given)] == [False, True, True]


@pytest.mark.parametrize(("name", "second"), [("sgd", 0.5), ("momentum", 0.5 * 1.9)])
def test_two_steps_by_hand(name, second):
    """w - lr g; then w - lr g again, or with momentum 0.9 w - lr (0.9 g + g)."""
    given = variables()
    optimizer = built(given, optimizer=name, learning_rate=0.5)
    moved = 0.0
    for distance in (0.5, second):
        optimizer.apply(SLOPES, given)
        moved += distance
        for variable, value, slope in zip(given, VALUES.values(), SLOPES):
            np.testing.assert_allclose(variable, value - moved * slope, atol=1e-5)
            assert not np.allclose(variable, value - 1.1 * moved * slope, atol=1e-5)


def test_betas_reach_the_optimizer_or_stay_those_of_keras():
    usual = {
        name: built(variables(), optimizer=name)
        for name in ("adam", "adamw", "nadam", "adamax", "lion", "lamb")
    }
    assert {name: (one.beta_1, one.beta_2) for name, one in usual.items()} == {
        **dict.fromkeys(("adam", "adamw", "nadam", "adamax", "lamb"), (0.9, 0.999)),
        "lion": (0.9, 0.99),
    }
    for name in usual:
        one = built(variables(), optimizer=name, beta_1=0.5, beta_2=0.75)
        assert (one.beta_1, one.beta_2) == (0.5, 0.75)
        assert name == "lion" or built(variables(), optimizer=name, beta_1=0.0).beta_1 == 0
        assert built(variables(), optimizer=name, beta_2=0.75).beta_1 == 0.9


@pytest.mark.parametrize("name", NAMES)
def test_clipping_is_left_to_the_loop(name):
    optimizer = built(variables(), optimizer=name, clip_norm=0.001)
    assert (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue) == (None, None, None)
    assert optimizer.learning_rate.numpy() == np.float32(LearningConfig().learning_rate)


FAMILIES = {
    "lstm": {"model": "lstm"},
    "ngram": {"model": "ngram", "direct_connections": True},
    "gpt": {"model": "gpt", "tie_embeddings": False},
    "bert": {"model": "bert", "tie_embeddings": False},
    "glm": {"model": "glm", "tie_embeddings": False},
}
OF_BLOCKS = {
    "query_key_value_kernel",
    "attention_output_kernel",
    "feed_forward_kernel",
    "feed_forward_output_kernel",
}
BY_MUON = {
    "lstm": {"kernel", "recurrent_kernel"},
    "ngram": {"kernel_0"},
    "gpt": OF_BLOCKS,
    "bert": OF_BLOCKS | {"head_kernel"},
    "glm": OF_BLOCKS,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_muon_leaves_tables_and_the_output_to_adamw(family, monkeypatch):
    """And nothing between, though names of the output stand within other names."""

    def by_muon():
        heads = {"num_heads": 2} if family in families_with("attention") else {}
        config = from_flat(
            {"optimizer": "muon", "embedding_dim": 6, "hidden_units": 10, **heads, **FAMILIES[family]}
        )
        with tf.Graph().as_default():
            model = building.network(config, 13)
        found, slots = [], model.optimizer.adam_velocities
        for variable, velocity in zip(model.trainable_variables, slots, strict=True):
            if velocity is None:
                found.append(variable)
        base = registry.OPTIMIZERS["muon"].flops * sum(math.prod(v.shape) for v in model.trainable_variables)
        products = sum(10 * min(v.shape) ** 2 * (2 * max(v.shape) + min(v.shape)) for v in found)
        assert optimizers.update_flops(config.learning, model.trainable_variables) == base + products
        return {variable.path.split("/")[-1] for variable in found}

    assert by_muon() == BY_MUON[family]
    monkeypatch.setattr(
        optimizers, "NOT_BY_MUON", "embeddings"
    )  # The control: what Keras leaves out by itself.
    assert "output_kernel" in by_muon()


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_float16_scales_the_loss(name):
    settings = {"optimizer": name, "learning_rate": 0.05, "weight_decay": 0.4}
    given, plain = variables(), variables()
    wrapped = built(given, precision="mixed_float16", **settings)
    assert type(wrapped) is keras.optimizers.LossScaleOptimizer
    scale = float(wrapped.scale_loss(1.0))
    assert scale > 1
    # The same step as without it, biases excluded here too, when the gradients come scaled.
    wrapped.apply([slope * scale for slope in SLOPES], given)
    built(plain, **settings).apply(SLOPES, plain)
    for one, two in zip(given, plain):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    # A gradient that is not finite changes nothing, and halves the scale.
    before = [variable.numpy() for variable in given]
    wrapped.apply([slope * np.inf for slope in SLOPES], given)
    for variable, value in zip(given, before):
        np.testing.assert_array_equal(variable, value)
    assert float(wrapped.scale_loss(1.0)) == scale / 2


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_other_precisions_need_no_scale(precision):
    assert type(built(variables(), precision=precision)) is optimizers.AdamW


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_one_pass_gives_what_keras_gives(name, replicas, tiny_config):
    """Also under a strategy, where each replica has its own copy of variables and slots."""
    settings = {"optimizer": name, "learning_rate": 0.03, "weight_decay": 0.2 if name == "adamw" else 0.0}
    strategy = distribution.set_up(tiny_config(replicas=replicas)).strategy
    with strategy.scope():
        given, plain = variables(), variables()
        ours = built(given, **settings)
        kind = type(ours).__mro__[2 if name.startswith("adam") else 1]
        theirs = kind.from_config({**ours.get_config(), "name": "theirs"})
        theirs.exclude_from_weight_decay(var_list=[v for v in plain if len(v.shape) < 2])
        theirs.build(plain)
    assert kind.__module__.startswith("keras.") and type(ours).__module__ == "lm_keras.optimizers"

    @tf.function
    def both(factor):
        ours.apply([slope * factor for slope in SLOPES], given)
        theirs.apply([slope * factor for slope in SLOPES], plain)

    for step in range(4):
        both(tf.constant(1.0 / (1 + step)))
    assert min(changes(given)) > 0.01
    for one, other in zip([*given, *ours.variables], [*plain, *theirs.variables], strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)
    if replicas > 1:
        copies = [tuple(copy.numpy() for copy in v.value.values) for v in given]
        assert all(np.array_equal(*copy) for copy in copies)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "nadam"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_gradients_times_a_factor(name, weight_decay):
    """Whatever takes the factor, the update is that of the gradients which it multiplies."""
    results = []
    for factor in (0.25, 1.0):
        given = variables()
        optimizer = built(given, optimizer=name, learning_rate=0.3, weight_decay=weight_decay)
        slopes = [slope / factor for slope in SLOPES]
        for _ in range(2):
            optimizers.apply(optimizer, slopes, tf.constant(factor), given)
        results.append([variable.numpy() for variable in given])
    for scaled, plain in zip(*results):
        assert scaled == pytest.approx(plain, rel=1e-5, abs=1e-6)
    assert optimizers.takes_rows(optimizer) == (name == "sgd" and not weight_decay)


def test_rows_of_a_table():
    given, again = variables(), variables()
    rows = tf.IndexedSlices(tf.constant([[1.0, 2, 3], [4, 5, 6], [0, 0, 0]]), tf.constant([7, 2, 2]), [13, 3])
    for some, slope in ((given, rows), (again, tf.convert_to_tensor(rows))):
        optimizer = built(some, optimizer="sgd", learning_rate=0.5)
        optimizers.apply(optimizer, [SLOPES[0], slope, SLOPES[2]], tf.constant(0.5), some)
    assert given[1].numpy() == pytest.approx(again[1].numpy(), rel=1e-6)
    moved = np.abs(given[1].numpy() - VALUES["embedding/embeddings"]).max(axis=1)
    assert (moved > 1e-3).nonzero()[0].tolist() == [2, 7]
