"""A private step: equal for every split, noise once and of the right size, and a constant divisor."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import callbacks, optimizers, schedules
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.models import FAMILIES
from lm_keras.privacy import noise, private_step
from lm_keras.privacy.guarantee import promised
from lm_keras.privacy.key import of_seed
from lm_keras.privacy.private_step import PrivateStep
from lm_keras.privacy.sampling import SampledOrder
from lm_keras.tasks import TASKS, task_of
from lm_keras.training.distribution import set_up
from lm_keras.training.step import VALUES, TrainingStep
from lm_keras.training.trainer import Learner, Trainer

V, N, T = 19, 60, 5
SETTINGS = {
    "sequence_length": T, "batch_size": 12, "steps": 6, "steps_per_call": 3, "log_every": 10**6, "jit": "off",
    "learning_rate_schedule": "constant", "dp_noise": 0.7, "dp_clip": 0.1, "dp_delta": 1e-3, "dp_seed": 4,
}  # fmt: skip
BY_ADAM = {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}
BY_SGD = {"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 0.0}
GPT = {"model": "gpt", "embedding_dim": 8, "num_heads": 2}
HIDING = {"embedding_dim": 8, "num_heads": 2, "sequence_length": 12, "mask_rate": 0.4}


@pytest.fixture(scope="module")
def store():
    random = np.random.default_rng(5)
    lengths = random.integers(2, 12, N)
    tokens = np.concatenate([[0], *(np.append(random.integers(3, V, n), 0) for n in lengths)])
    counts = TextCounts(len(tokens) - 1, len(tokens), 1, len(tokens), N)
    begins = np.cumsum([1, *(lengths[:-1] + 1)])
    return TokenStore(tokens.astype(np.uint16), begins, counts)


@pytest.fixture(scope="module")
def fit(tiny_config, store):
    """A function that trains a network privately and tells all of it."""

    def run(parts=None, **settings):
        config = tiny_config(**{**SETTINGS, **BY_ADAM, **settings})
        keras.utils.set_random_seed(config.batches.seed)
        devices = set_up(config)
        with devices.strategy.scope():
            size = V + TASKS[config.task].extra_tokens
            model = FAMILIES[config.model.model](config, size)
            model.optimizer = optimizers.build(config.learning, model.trainable_variables)
        before = [weight.numpy() for weight in model.trainable_variables]
        with pytest.MonkeyPatch.context() as patch:
            if parts:
                at_once = devices.replicas * config.batches.micro_batches
                patch.setattr(private_step, "ROWS", max(1, config.batches.batch_size // (at_once * parts)))
            promise = promised(config, N, config.batches.steps)
            private = PrivateStep(promise, config, of_seed(config.privacy.dp_seed), devices.replicas)
        task = private.task(task_of(config, V), store)
        learner = Learner(model, task, None, private)
        trainer = Trainer(learner, devices, private.config, store, config.batches.steps, None)
        steps, values = trainer.compiled_step, []

        def step(*arguments):
            results, *rest, done = steps(*arguments)
            values.append(np.stack([results[name].numpy()[: int(done)] for name in VALUES], 1))
            return results, *rest, done

        trainer.compiled_step = type("Step", (), {
            "__call__": staticmethod(step), "guard": steps.guard, "stopped": steps.stopped,
            "traces": property(lambda self: steps.traces),
        })()  # fmt: skip
        curve = schedules.build("constant", config.batches.steps, 0)
        trainer.train([callbacks.LearningRateSchedule(config.learning.learning_rate, curve)], 10**6, 10**6)
        values = np.concatenate(values)
        return types.SimpleNamespace(
            before=before,
            weights=[weight.numpy() for weight in model.trainable_variables],
            weight=values[:, VALUES.index("weight")],
            norms=values[:, VALUES.index("gradient_norm")],
            left_out=values[:, -3:].any(),
            private=private,
            traces=steps.traces,
        )

    return run


def differs(run, other, tolerance=1e-5):
    def far(a, b):
        return np.linalg.norm(a - b) > tolerance * np.linalg.norm(b)

    counts = not np.array_equal(run.weight, other.weight)
    return counts or any(map(far, run.weights, other.weights)) or bool(np.any(far(run.norms, other.norms)))


def test_rows_of_parts(tiny_config):
    """A large batch has four parts; where the gradient of each row is formed they stay small."""

    def rows(model, batch_size, **settings):
        config = tiny_config(
            **{**SETTINGS, **settings, "model": model, "batch_size": batch_size, "steps": 9, "dp_delta": 1e-6}
        )
        promise = promised(config, 20_000, 9)
        batches = PrivateStep(promise, config, bytes(16), 1).config.batches
        assert batches.batch_size >= promise.cap
        return batches.batch_size // batches.micro_batches

    assert [rows("lstm", size) for size in (32, 64, 256)] == [38, 36, 68]
    assert [rows("bert", size, **HIDING) for size in (64, 256)] == [36, 34]
    assert rows("lstm", 256, micro_batches=4) == 34


SPLITS = [
    ({}, 2, 2, 1), ({**HIDING, "model": "bert"}, 2, 1, 2), (GPT, 2, 1, 2), ({"model": "ngram"}, 4, 1, 3),
    ({"jit": "parts"}, 1, 3, 3), ({**HIDING, "model": "glm"}, 1, 3, 1),
]  # fmt: skip
"""Settings, replicas, micro-batches, parts; the first two belong to the default tests."""


@pytest.mark.parametrize(
    ("settings", "replicas", "micro_batches", "parts"),
    [pytest.param(*split, marks=[pytest.mark.slow] * (place > 1)) for place, split in enumerate(SPLITS)],
)
def test_every_split_gives_the_same_private_update(fit, settings, replicas, micro_batches, parts):
    whole = fit(1, **settings, steps_per_call=1)
    split = fit(parts, **settings, replicas=replicas, micro_batches=micro_batches)
    assert not differs(split, whole)
    assert split.private.config.batches.micro_batches > 1 and not whole.left_out
    assert split.traces == 1
    assert len(set(whole.weight.tolist())) > 1  # samples differ in size


def once_a_replica(step, batch, state, number, rates):
    """The classical fault: every replica adds the noise."""
    summed, state = ON_REPLICA(step, batch, state, number, rates)
    count = len(step._variables)
    return [*step._private.noised(summed[:count], number), *summed[count:]], state


def divided_by_the_sample(private):
    return tf.constant(9.0)


def divided_before_the_noise(private, totals, step):
    """The other one: noise for a sum, added to a mean."""
    rows = private.guarantee.rows
    return [one * rows for one in NOISED(private, [total / rows for total in totals], step)]


ON_REPLICA, NOISED = TrainingStep._on_replica, PrivateStep.noised


@pytest.mark.parametrize(
    ("kind", "name", "fault"),
    [
        (TrainingStep, "_on_replica", once_a_replica),
        (PrivateStep, "expected", property(divided_by_the_sample)),
        (PrivateStep, "noised", divided_before_the_noise),
    ],
)
def test_the_check_of_private_splits_can_fail(fit, monkeypatch, kind, name, fault):
    whole = fit(model="ngram", steps_per_call=1)
    monkeypatch.setattr(kind, name, fault)
    assert differs(fit(model="ngram", replicas=2), whole, 1e-3)


def test_an_empty_sample_adds_noise_alone(fit, monkeypatch):
    """And the noise is what the promise says: sigma C z / B, a standard normal z of (secret, step)."""

    def nothing(self, step):
        return tuple(np.zeros((2, self.batch_size), np.int64))

    monkeypatch.setattr(SampledOrder, "sample", nothing)
    run = fit(model="ngram", **BY_SGD, steps=1, steps_per_call=1)
    assert run.weight.tolist() == [0.0] and not run.left_out
    key = noise.key_of(private_step.key.derived(of_seed(4), "noise"))
    drawn = noise.normal(key, tf.constant(0, tf.int64), [weight.shape for weight in run.weights])
    for before, after, z in zip(run.before, run.weights, drawn, strict=True):
        assert np.allclose(before - after, 0.7 * 0.1 / 12 * z.numpy(), atol=1e-6)
    z = np.concatenate([one.numpy().ravel() for one in drawn])
    assert abs(z.mean()) < 4 / np.sqrt(z.size) and z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))


def test_one_row_changes_the_sum_by_no_more_than_the_clipping_norm(fit, monkeypatch):
    """With a unit more in the sample the update moves by at most C / B, whatever that unit holds."""
    sample = SampledOrder.sample

    def without_first(self, step):
        start, end = sample(self, step)
        end[0] = start[0]
        return start, end

    settings = {"model": "ngram", **BY_SGD, "steps": 1, "steps_per_call": 1, "dp_clip": 0.01}
    run = fit(**settings)
    monkeypatch.setattr(SampledOrder, "sample", without_first)
    other = fit(**settings)
    moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(run.weights, other.weights)))
    assert moved == pytest.approx(0.01 / 12, rel=1e-3)  # such rows are all clipped


def test_noise_is_a_pure_function_of_key_and_step():
    key, shapes = noise.key_of(bytes(range(16))), [(3, 5), (7,), (4, 4)]

    def numbers(step, key=key):
        return np.concatenate(
            [one.numpy().ravel() for one in noise.normal(key, tf.constant(step, tf.int64), shapes)]
        )

    first = numbers(3)
    assert np.array_equal(first, numbers(3)) and not np.isin(first, numbers(4)).any()
    assert len(set(first.tolist())) == len(first)  # no variable has the numbers of another one
    assert not np.isin(first, numbers(3, noise.key_of(bytes(range(1, 17))))).any()
    # Either half of the key matters.
    for place in (0, 15):
        other = bytearray(range(16))
        other[place] ^= 1
        assert not np.isin(first, numbers(3, noise.key_of(bytes(other)))).any()
    # The control: blocks that overlap.
    overlapping = noise.normal(key, tf.constant(3, tf.int64), [(4,), (4,)])
    assert not np.array_equal(overlapping[0], overlapping[1])


def test_settings_of_the_loop(tiny_config):
    config = tiny_config(**SETTINGS, clip_norm=1.0)
    guarantee = promised(config, N, 6)
    for replicas in (1, 2, 4):
        private = PrivateStep(guarantee, config, bytes(16), replicas)
        batches = private.config.batches
        assert batches.batch_size >= guarantee.cap and private.config.learning.clip_norm == 0
        assert batches.batch_size % (replicas * batches.micro_batches) == 0
    assert dataclasses.replace(private.config, batches=config.batches, learning=config.learning) == config


@pytest.mark.parametrize(("rows", "units"), [(12, 60), (64, 20_000), (256, 20_000)])
def test_few_rows_are_empty(tiny_config, rows, units):
    """On average a step computes at most a quarter more rows than a sample has, 20 of them at least."""
    config = tiny_config(**{**SETTINGS, "batch_size": rows, "dp_delta": 1e-6})
    batches = PrivateStep(promised(config, units, 10), config, bytes(16), 1).config.batches
    part = batches.batch_size // batches.micro_batches
    sizes = np.random.default_rng(1).binomial(units, rows / units, 10_000)
    computed = np.minimum(-(-sizes // part) * part, batches.batch_size).mean()
    assert computed < max(20, 1.25 * rows)
    assert batches.batch_size > 1.3 * rows  # The control: what would be computed without parts.
