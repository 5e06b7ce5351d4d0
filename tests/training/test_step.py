"""Law 2: one global batch, one update, however it is split; and the numbers of a step against a
step by hand.
"""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow, slow

from lm_keras.data.order import build as build_order
from lm_keras.data.pipeline import next_tokens, training_batches
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.draws import Draw
from lm_keras.layers import TokenNoise
from lm_keras.models import FAMILIES
from lm_keras.tasks import TASKS
from lm_keras.training import trainer
from lm_keras.training.step import TrainingStep

V, B, T, TARGETS, LAST = 19, 16, 3, 359, 7
"""359 targets in 16 streams of 23: in the last batch of an epoch, of step 7, a row has 2 of 3 places, and the
last row none. In 120 windows: there the second half of the rows is empty.
"""

COMMON = {
    "sequence_length": T, "batch_size": B, "steps": 20, "dropout": 0.3, "learning_rate_schedule": "linear",
    "log_every": 10**6,
}  # fmt: skip
OPTIMIZERS = {
    "adamw": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1,
        "weight_drop": 0.2,
    },
    "recurrence": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1,
        "weight_drop": 0.2,
        "jit": "recurrence",
    },
    "parts": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1,
        "weight_drop": 0.2,
        "jit": "parts",
    },
    "sgd": {"optimizer": "sgd", "learning_rate": 20.0, "clip_norm": 0.02, "batching": "window",
        "token_noise": 0.2},
    "adam": {
        "optimizer": "adam", "learning_rate": 0.01, "clip_norm": 0.1, "model": "ngram", "batching": "stream",
        "token_noise": 0.2, "token_noise_schedule": "linear",
    },
    "gpt": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1, "model": "gpt",
        "num_heads": 2, "embedding_dim": 8, "hidden_units": 12, "num_kv_heads": 1, "positions": "rotary",
        "jit": "off",
    },
    "bert": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1, "model": "bert",
        "num_heads": 2, "embedding_dim": 8, "hidden_units": 12, "mask_rate": 0.4,
    },
    "glm": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1, "model": "glm",
        "num_heads": 2, "embedding_dim": 8, "hidden_units": 12, "mask_rate": 0.4,
    },
    # Whatever is left of {LSTM, n-gram} x {SGD, AdamW}: with the whole grid only.
    "lstm_sgd": {"optimizer": "sgd", "learning_rate": 10.0, "clip_norm": 0.02, "weight_drop": 0.2,
        "token_noise": 0.2},
    "ngram_sgd": {"optimizer": "sgd", "learning_rate": 10.0, "clip_norm": 0.02, "model": "ngram",
        "batching": "stream"},
    "ngram_adamw": {
        "optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 0.1, "weight_decay": 0.1, "model": "ngram",
        "batching": "window",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tiny_config, fit, leaky):
    """A function that trains the LSTM by AdamW, the n-gram model by Adam, a smaller network by SGD; each
    once.
    """

    @functools.cache
    def trained(optimizer, **settings):
        config = tiny_config(**COMMON | OPTIMIZERS[optimizer] | settings)
        build, size = FAMILIES[config.model.model], V + TASKS[config.task].extra_tokens
        return fit(config, lambda: leaky(dropout=0.3) if optimizer == "sgd" else build(config, size))

    return trained


def differs(run, other, tolerance=1e-5):
    """Tell whether losses or final weights of two runs differ by more than a relative tolerance."""

    def far(a, b):
        return np.linalg.norm(a - b) > tolerance * np.linalg.norm(b)

    losses = np.abs(run.losses / other.losses - 1).max() > tolerance
    return losses or any(map(far, run.weights, other.weights))


SPLITS = [
    ("adamw", 1, 4, 5), ("adamw", 4, 2, 1), ("sgd", 2, 4, 1), ("sgd", 4, 1, 5),
    ("parts", 2, 2, 5), ("adam", 2, 4, 5), ("gpt", 2, 2, 5), ("bert", 2, 2, 5),
]  # fmt: skip
GRID = itertools.product(OPTIMIZERS, (1, 2, 4), (1, 2, 4), (1, 5))


@pytest.mark.parametrize(
    ("optimizer", "replicas", "micro_batches", "steps_per_call"), others_slow(GRID, SPLITS)
)
def test_every_split_gives_the_same_update(run, optimizer, replicas, micro_batches, steps_per_call):
    whole = run(optimizer, steps_per_call=1)
    parts = {"replicas": replicas, "micro_batches": micro_batches}
    split = run(optimizer, **parts, steps_per_call=steps_per_call)
    assert len(whole.losses) == 20
    assert whole.losses[-5:].mean() < whole.losses[:5].mean()  # it learns
    assert np.mean(whole.norms > OPTIMIZERS[optimizer]["clip_norm"]) > 0.7  # clipping bites
    assert max(split.calls) == steps_per_call
    assert split.trainer.strategy.num_replicas_in_sync == replicas
    assert not differs(split, whole)


REDUCE = TrainingStep._reduced


def part_by_part(step, summed):
    """What costs a way across the network for each variable."""
    for part in summed[1:]:
        step._strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None)
    return REDUCE(step, summed)


@pytest.mark.parametrize(("reduced", "times"), [(REDUCE, 1), (part_by_part, 3)])
def test_gradients_cross_the_network_once(tiny_config, fit, leaky, monkeypatch, reduced, times):
    """One sum over the replicas is all that a step asks of the strategy, updates included."""
    sums = []
    for name in ("reduce", "batch_reduce"):
        original = getattr(tf.distribute.CrossDeviceOps, name)

        def counted(self, *args, original=original, **settings):
            sums.append(original)
            return original(self, *args, **settings)

        monkeypatch.setattr(tf.distribute.CrossDeviceOps, name, counted)
    monkeypatch.setattr(TrainingStep, "_reduced", reduced)
    config = tiny_config(**{**COMMON, **OPTIMIZERS["sgd"], "steps": 3}, replicas=2, steps_per_call=3)
    run = fit(config, lambda: leaky(dropout=0.3))
    assert run.trainer.compiled_step.traces == 1
    assert len(sums) == times if reduced is REDUCE else len(sums) > times


def clip_each_replica(step, batch, state, number, rates):
    """What Keras does: clip what this replica has, then sum."""
    summed, state = ON_REPLICA(step, batch, state, number, rates)
    weight = tf.maximum(summed[-1], 1.0)
    gradients = [gradient / weight for gradient in summed[:-3]]
    gradients, _ = tf.clip_by_global_norm(gradients, step._config.learning.clip_norm)
    return [*(gradient * weight for gradient in gradients), *summed[-3:]], state


def mean_of_means(step, batch, state, number, rates):
    """What Keras does: divide by the targets of this replica, then take the mean."""
    summed, state = ON_REPLICA(step, batch, state, number, rates)
    share = B / 2 * T / tf.maximum(summed[-1], 1.0)
    return [*(gradient * share for gradient in summed[:-3]), *summed[-3:]], state


def same_masks(step, batch, state, number, rates):
    """What Keras does: every replica draws the masks of the first rows."""
    rows = step._gradients
    step._gradients = lambda batch, state, number, rates, first: rows(batch, state, number, rates, 0 * first)
    result = ON_REPLICA(step, batch, state, number, rates)
    step._gradients = rows
    return result


def same_noise(step, batch, state, number, rates):
    """Every replica replaces the tokens of the first rows."""
    noise = step._noise
    step._noise = lambda tokens, draw: noise(
        tokens, draw=dataclasses.replace(draw, first_row=0 * draw.first_row)
    )
    result = ON_REPLICA(step, batch, state, number, rates)
    step._noise = noise
    return result


ON_REPLICA = TrainingStep._over_micro_batches


@pytest.mark.parametrize("broken", [clip_each_replica, mean_of_means, same_masks, same_noise])
def test_the_check_of_splits_can_fail(run, tiny_config, fit, leaky, monkeypatch, broken):
    whole = run("sgd", steps_per_call=1)
    monkeypatch.setattr(TrainingStep, "_over_micro_batches", broken)
    config = tiny_config(**COMMON, **OPTIMIZERS["sgd"], replicas=2, steps_per_call=5)
    assert differs(fit(config, lambda: leaky(dropout=0.3)), whole, 1e-3)


def step_by_hand(model, tokens, config):
    """One step of SGD on the last batch of an epoch, by Keras's own losses and regularizers, as a mean.

    Returns:
        The weights after it, and the norm of the gradient.
    """
    learning = config.learning
    order = build_order("stream", TARGETS, B, T, 0)
    counts = TextCounts(TARGETS, TARGETS, TARGETS, TARGETS)
    store = TokenStore(tokens, np.array([1]), counts)
    dataset = training_batches(lambda rows, step: next_tokens(store, rows), order, LAST, LAST + 1)
    inputs, targets, weights = next(iter(dataset))

    def draw(rate):
        return Draw(config.batches.seed, tf.constant(LAST), tf.constant(rate), tf.constant(0))

    counts = np.bincount(tokens[1:], minlength=V)
    read = TokenNoise(0.1, counts)(inputs["tokens"], draw=draw(learning.token_noise))
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        features, _ = model.forward(
            {**inputs, "tokens": read}, model.initial_state(B), draw(config.model.dropout)
        )
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing, reduction="none"
        )(tf.one_hot(targets, V), model.project(features))
        objective = tf.reduce_sum(loss * weights) / tf.reduce_sum(weights)
        penalty = keras.regularizers.L1L2(learning.l1, learning.l2)
        objective += sum(penalty(variable) for variable in variables if len(variable.shape) == 2)
    gradients = tape.gradient(objective, variables)
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    clipped, norm = tf.clip_by_global_norm(gradients, learning.clip_norm)
    after = [w.numpy() - learning.learning_rate * g.numpy() for w, g in zip(variables, clipped)]
    return after, norm.numpy()


PENALTIES = {
    "l1": 0.002, "l2": 0.03, "label_smoothing": 0.1, "clip_norm": 0.3, "learning_rate": 2.0,
    "token_noise": 0.3,
}  # fmt: skip


def test_a_step_equals_the_step_by_hand(tiny_config, fit, store_of):
    """Also: penalties and label smoothing enter the gradient once, and noise changes no target."""
    settings = {
        **COMMON,
        **PENALTIES,
        "optimizer": "sgd",
        "learning_rate_schedule": "constant",
        "steps": LAST + 1,
    }
    config = tiny_config(**settings, replicas=2, micro_batches=2)
    step = fit(config, lambda: FAMILIES["lstm"](config, V), first_step=LAST)
    assert step.calls == [1]

    def by_hand(**changed):
        keras.utils.set_random_seed(config.batches.seed)
        changed = tiny_config(**{**settings, **changed})
        return step_by_hand(FAMILIES["lstm"](changed, V), store_of(TARGETS).tokens, changed)

    def differ(weights):
        return max(np.abs(a - b).max() for a, b in zip(step.weights, weights, strict=True)) > 3e-6

    weights, norm = by_hand()
    assert not differ(weights)
    assert step.norms[0] == pytest.approx(norm, rel=1e-5)
    assert norm > PENALTIES["clip_norm"]
    for name in PENALTIES:
        assert differ(by_hand(**{name: 2 * PENALTIES[name]})[0]), name


def test_one_trace_whatever_the_length_of_a_call(tiny_config, fit, leaky):
    config = tiny_config(**{**COMMON, "steps": 23, "dropout": 0.0}, steps_per_call=5)
    run = fit(config, leaky, eval_every=7, log_every=6)
    assert run.calls == [5, 1, 1, 1, 4, 2, 2, 2, 3, 2]  # ends at multiples of 6, 7 and 8
    assert run.trainer.compiled_step.traces == 1
    # The control: tables of another length are another function.
    trainer, table = run.trainer, tf.zeros([4])
    tables = {"learning_rate": table, "dropout": table}
    trainer.compiled_step(
        trainer._distributed_batches(),
        trainer._state,
        trainer._recent,
        tf.constant(0, tf.int64),
        tables,
        tf.constant(0),
    )
    assert trainer.compiled_step.traces == 2


def test_jit_changes_nothing(run):
    """The control is another seed."""
    plain = run("sgd", steps_per_call=1)
    compiled = run("sgd", replicas=2, micro_batches=4, steps_per_call=5, jit="on")
    assert not differs(run("sgd", steps_per_call=5, jit="on"), plain, 1e-5)
    assert compiled.trainer.compiled_step.traces == 1
    assert not differs(compiled, plain, 1e-4)
    assert differs(run("sgd", steps_per_call=5, seed=2), plain, 1e-2)


@pytest.mark.parametrize("parts", ["parts", *slow("recurrence")])
def test_jit_of_parts_changes_nothing(run, parts):
    assert not differs(run(parts, steps_per_call=1), run("adamw", steps_per_call=1), 1e-5)


@pytest.mark.parametrize(("family", "jit"), [("gpt", "auto"), *slow(("bert", "on"), ("glm", "on"))])
def test_jit_of_transformers_changes_nothing(run, family, jit):
    """Of a GPT on a CPU all gradients are compiled by themselves; on a GPU those of others are, too."""
    assert not differs(run(family, steps_per_call=5, jit=jit), run(family, steps_per_call=1), 1e-5)


@pytest.mark.parametrize(
    ("precision", "replicas", "tolerance"),
    [
        ("mixed_bfloat16", 1, 0.02),
        ("mixed_float16", 2, 0.01),
        *slow(("mixed_bfloat16", 2, 0.02), ("mixed_float16", 1, 0.01)),
    ],
)
def test_mixed_precision(run, precision, replicas, tolerance):
    exact = run("adamw", steps_per_call=1)
    mixed = run("adamw", steps_per_call=5, precision=precision, replicas=replicas)
    assert not differs(mixed, exact, np.inf)
    assert np.abs(mixed.losses / exact.losses - 1).max() < tolerance
    assert differs(mixed, exact, 1e-4)  # the products are really rounded
    assert {weight.dtype for weight in mixed.weights} == {np.dtype("float32")}
    assert mixed.losses[-5:].mean() < mixed.losses[:5].mean()
    scaled = isinstance(mixed.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")


def test_a_step_that_overflows_float16_is_left_out_and_counted(tiny_config, fit):
    """A loss scale of 2^40 overflows; Keras halves it at every such step until the gradients fit."""
    settings = {
        **COMMON,
        **OPTIMIZERS["adamw"],
        "steps": 40,
        "precision": "mixed_float16",
        "weight_drop": 0.0,
    }
    config = tiny_config(**settings)
    logged = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.optimizer.dynamic_scale.assign(2.0**40)

        def on_train_batch_end(self, batch, logs=None):
            logged.append(logs)

    wild = fit(config, lambda: FAMILIES["lstm"](config, V), callbacks=[Watch()])
    left_out = int(wild.skipped.sum())
    assert 5 < left_out < 35
    assert wild.skipped[:left_out].all()
    assert (wild.norms[wild.skipped] == 0).all() and (wild.norms[~wild.skipped] > 0).all()
    assert logged[-1]["skipped"] == left_out
    assert logged[-1]["gradient_norm"] == pytest.approx(wild.norms.sum() / (40 - left_out), rel=1e-5)
    assert np.isfinite(wild.losses).all() and wild.losses[-5:].mean() < wild.losses[:5].mean()
    # The control: the usual scale fits, and without loss scaling there is nothing to leave out.
    steady = fit(config, lambda: FAMILIES["lstm"](config, V))
    assert not steady.skipped.any() and steady.trainer.compiled_step.guard.may_leave_out


@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_clipping_at_the_limits(penalty):
    """A gradient of zeros stays zero, and a norm that float32 cannot hold makes the step one that is left
    out.
    """
    from benchmarks.trainers import trainer_of
    from lm_keras.config import from_flat

    tiny = {"vocab_size": 7, "embedding_dim": 2, "hidden_units": 3, "sequence_length": 3, "batch_size": 2}
    step = trainer_of(from_flat({**tiny, "clip_norm": 0.5, "l2": penalty})).compiled_step
    shapes = [variable.shape for variable in step._variables]

    def clipped(value):
        given = [tf.fill(shape, value) for shape in shapes]
        gradients, factor, norm = step._with_penalties(given, tf.constant(2.0))
        return np.concatenate([(factor * gradient).numpy().ravel() for gradient in gradients]), float(norm)

    gradients, norm = clipped(0.0)
    assert np.isfinite(gradients).all() and (penalty or (norm == 0 and not gradients.any()))
    gradients, norm = clipped(8.0)
    assert np.linalg.norm(gradients) == pytest.approx(0.5, rel=1e-5)
    assert norm == pytest.approx(4.0 * gradients.size**0.5, rel=0.01)
    gradients, norm = clipped(0.01)
    assert gradients == pytest.approx(0.005, abs=1e-6) if not penalty else norm < 0.5
    gradients, norm = clipped(3e38)
    assert not np.isfinite(norm) and np.isnan(gradients).all()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_an_update_touches_only_the_rows_that_it_needs_to(optimizer):
    """Plain SGD gets each token's summed gradient once; momentum moves rows whose gradient is zero."""
    from benchmarks.trainers import trainer_of
    from lm_keras.config import from_flat

    shape = {"vocab_size": 50, "embedding_dim": 2, "hidden_units": 3, "sequence_length": 4, "batch_size": 2}
    step = trainer_of(from_flat({**shape, "optimizer": optimizer})).compiled_step
    tokens = np.array([[5, 9, 5, 5], [9, 7, 5, 0]], np.int32)
    batch = ({"tokens": tf.constant(tokens)}, tf.constant(tokens), tf.ones(tokens.shape))
    rates = {"learning_rate": tf.constant(0.1), "dropout": tf.constant(0.0)}
    state = step._model.initial_state(2)
    arguments = (batch, state, tf.constant(0, tf.int64), rates, tf.constant(0, tf.int64))
    place = [tuple(variable.shape) for variable in step._variables].index((50, 2))
    found = step._gradients(*arguments)[0][place]
    step._sparse = False
    dense = step._gradients(*arguments)[0][place]
    assert isinstance(found, tf.IndexedSlices) == (optimizer == "sgd")
    for other in ({"jit": "on"}, {"micro_batches": 2}, {"l2": 0.1}, {"weight_decay": 0.1}):
        assert not trainer_of(from_flat({**shape, "optimizer": optimizer, **other})).compiled_step._sparse
    assert tf.convert_to_tensor(found).numpy() == pytest.approx(dense.numpy(), rel=1e-6, abs=1e-9)
    if optimizer == "sgd":
        assert found.indices.numpy().tolist() == [5, 9, 7, 0, 0, 0, 0, 0]
        assert not found.values[4:].numpy().any()
        assert float(tf.norm(found.values)) == pytest.approx(float(tf.norm(dense)), rel=1e-6)


WITHOUT = 7
"""The step that has no target in what follows."""

KINDS = {
    "adam": {"optimizer": "adam", "log_every": 1},
    "penalty": {"optimizer": "momentum", "l2": 0.1, "weight_decay": 0.1},
    "parts": {"optimizer": "adamw", "replicas": 2, "micro_batches": 2, "weight_decay": 0.1},
    "float16": {"optimizer": "adam", "precision": "mixed_float16"},
}


@pytest.fixture
def without_a_target(tiny_config, fit, leaky, monkeypatch):
    """A function that trains a run one step of which has no target; it returns the run, and what each step
    changed.
    """
    original = trainer.training_batches

    def batches(*args, replicas, **more):
        def blank(number, batch):
            inputs, targets, weights = batch
            return inputs, targets, weights * tf.cast(number // replicas != WITHOUT - 1, weights.dtype)

        return original(*args, replicas=replicas, **more).enumerate().map(blank)

    monkeypatch.setattr(trainer, "training_batches", batches)

    def train(log_every=10**6, **settings):
        seen, logged = [], []

        def look(batch, logs):
            variables = [*callback.model.trainable_variables, *callback.model.optimizer.variables]
            rate = callback.model.optimizer.learning_rate
            seen.append([v.numpy() for v in variables if v is not rate])
            logged.append(logs)

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=look)
        config = tiny_config(
            **{"steps": 9, "batch_size": B, "sequence_length": T, "learning_rate": 0.05, **settings}
        )
        run = fit(config, leaky, callbacks=[callback], log_every=log_every)
        changed = [
            any(not np.array_equal(a, b) for a, b in zip(before, after))
            for before, after in itertools.pairwise(seen)
        ]
        return run, changed, logged

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_without_a_target_changes_nothing(without_a_target, kind):
    """Neither weights nor slots, however the batch is split and however many steps a call has."""
    run, changed, logged = without_a_target(**KINDS[kind], steps_per_call=1)
    assert changed == [step != WITHOUT for step in range(2, 10)]
    assert run.losses[WITHOUT - 1] == run.norms[WITHOUT - 1] == 0
    assert not run.skipped.any() and run.said == []
    if kind == "adam":  # Which says what each step was.
        numbers = [(np.isnan(one["loss"]), one["accuracy"], one["gradient_norm"]) for one in logged]
        assert numbers[WITHOUT - 1] == (True, None, None)
        assert not any(nan or None in rest for nan, *rest in [*numbers[: WITHOUT - 1], *numbers[WITHOUT:]])
    if kind == "parts":
        whole, _, _ = without_a_target(**KINDS[kind], steps_per_call=5)
        assert max(whole.calls) == 5
        for one, other in zip(whole.weights, run.weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_check_of_a_step_without_a_target_can_fail(without_a_target, monkeypatch):
    update = TrainingStep._update
    monkeypatch.setattr(TrainingStep, "_update", lambda *args: update(*args[:-1], tf.constant(False)))
    assert all(without_a_target(**KINDS["adam"], steps_per_call=1)[1])
