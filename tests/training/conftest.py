"""A network that is traced in no time, and training with nothing around it."""

import contextlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from silent import Silent

from lm_keras import callbacks as ours
from lm_keras import models, optimizers, schedules
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.layers import ScheduledDropout, TokenNoise
from lm_keras.tasks import TASKS, task_of
from lm_keras.training import machine, timing
from lm_keras.training import run as training_run
from lm_keras.training.distribution import set_up
from lm_keras.training.step import VALUES
from lm_keras.training.trainer import Learner, Trainer

V = 19


class Leaky(keras.Model):
    """Predicts from the last token and a leaky sum of all windows before: the least that carries a state."""

    context_tokens = context_length = None
    head_weights = optional_weights = ()
    num_outputs = None
    remarks = ()

    def __init__(self, vocab_size: int = V, width: int = 6, dropout: float = 0.0):
        super().__init__(autocast=False, name="leaky")
        self.vocab_size = vocab_size
        self.table = self.add_weight(shape=(vocab_size, width), initializer="normal", name="table")
        self.matrix = self.add_weight(shape=(width, vocab_size), initializer="normal", name="matrix")
        self.dropout = ScheduledDropout(dropout) if dropout else None
        self.built = True

    def initial_state(self, batch_size, length=None):
        return [{"h": tf.zeros([batch_size, self.table.shape[1]])}]

    def forward(self, inputs, state, draw=None, training=False):
        h = state[0]["h"]
        if "reset" in inputs:
            h = tf.where(inputs["reset"][:, None], 0.0, h)
        x = tf.gather(tf.convert_to_tensor(self.table), inputs["tokens"])  # [B, T, D]
        features = x + h[:, None]
        if self.dropout is not None:
            features = self.dropout(features, training=training, draw=draw)
        return features, [{"h": 0.5 * h + tf.reduce_mean(x, axis=1)}]

    def output_weights(self):
        return tf.convert_to_tensor(self.matrix), tf.zeros([self.vocab_size]), False

    def project(self, features):
        return tf.tensordot(features, tf.convert_to_tensor(self.matrix), 1)

    def call(self, tokens, training=False):
        features, _ = self.forward({"tokens": tokens}, self.initial_state(tf.shape(tokens)[0]))
        return self.project(features)


@pytest.fixture(scope="session")
def leaky():
    return Leaky


@pytest.fixture(scope="session")
def small_network(leaky):
    """A context in which runs build a network that is traced in no time, and sample nothing."""

    def build(config, vocab_size, num_outputs=None):
        return leaky(vocab_size, dropout=config.model.dropout)

    def num_parameters(config, vocab_size, num_outputs=None):
        return 2 * 6 * vocab_size

    @contextlib.contextmanager
    def patched():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(models.FAMILIES, "lstm", build)
            patch.setitem(models.NUM_PARAMETERS, "lstm", num_parameters)
            patch.setattr(training_run, "answer_for", Silent)
            yield patch

    return patched


@pytest.fixture
def small(small_network):
    with small_network():
        yield


class Killed(BaseException):
    """Stands for a kill: nothing of the package is asked what to do about it."""


@pytest.fixture
def killed(train, monkeypatch):
    """A function that begins a run and kills it at the end of the first call that reaches a step."""

    def execute(config, path, step):
        call = Trainer._call

        def kill(self, schedules):
            if self.step >= step:
                raise Killed
            return call(self, schedules)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Trainer, "_call", kill)
            train(config, path)

    return execute


@pytest.fixture
def quick(monkeypatch):
    """Timing steps of a dry run for a tenth of a second."""
    monkeypatch.setattr(timing, "TIMING_SECONDS", 0.1)
    monkeypatch.setattr(machine.product_flops, "__defaults__", (0.02,))


@pytest.fixture(scope="session")
def store_of():
    """A function that makes a token store of n random tokens, the next of which can be guessed
    half the time.
    """

    def make(count: int, vocab_size: int = V, seed: int = 5) -> TokenStore:
        random = np.random.default_rng(seed)
        tokens = random.integers(0, vocab_size, count + 1)
        for place in np.flatnonzero(random.random(count) < 0.5):
            tokens[place + 1] = (3 * tokens[place] + 1) % vocab_size
        counts = TextCounts(tokens=count, bytes=2 * count, words=count // 3, characters=count)
        return TokenStore(tokens.astype(np.uint16), np.array([1]), counts)

    return make


class Recorded:
    """The compiled step, writing down what every single step reported."""

    def __init__(self, step):
        self.step, self.values = step, []

    @property
    def traces(self):
        return self.step.traces

    @property
    def guard(self):
        return self.step.guard

    @property
    def stopped(self):
        return self.step.stopped

    def __call__(self, *args):
        results, *rest, done = self.step(*args)
        columns = [results[name].numpy()[: int(done)] for name in VALUES]
        self.values.append(np.stack(columns, axis=1))
        return results, *rest, done


@pytest.fixture(scope="session")
def fit(store_of):
    """A function that trains a network by the project's own loop and tells everything of it."""

    def run(
        config,
        build,
        store=None,
        callbacks=(),
        evaluate=None,
        eval_every=10**6,
        log_every=10**6,
        first_step=0,
        replaced_by=None,
    ):
        store = store or store_of(359)
        keras.utils.set_random_seed(config.batches.seed)
        devices = set_up(config)
        with devices.strategy.scope():
            model = build()
            model.optimizer = optimizers.build(config.learning, model.trainable_variables)
        said = []
        steps = config.batches.steps
        learning, noise = config.learning, None
        if learning.token_noise:
            weights = store.frequencies(model.vocab_size) if replaced_by is None else replaced_by
            noise = TokenNoise(learning.token_noise, weights)
        task = task_of(config, model.vocab_size - TASKS[config.task].extra_tokens)
        learner = Learner(model, task, noise)
        trainer = Trainer(learner, devices, config, store, steps, evaluate, said.append)
        trainer.compiled_step, trainer.step = Recorded(trainer.compiled_step), first_step
        curve = schedules.build(learning.learning_rate_schedule, steps, learning.warmup_steps)
        listed = [ours.LearningRateSchedule(learning.learning_rate, curve)]
        if config.model.dropout:
            curve = schedules.build(learning.dropout_schedule, steps)
            listed.append(ours.DropoutSchedule(config.model.dropout, curve))
        if learning.token_noise:
            curve = schedules.build(learning.token_noise_schedule, steps)
            listed.append(ours.TokenNoiseSchedule(learning.token_noise, curve))
        trainer.train([*listed, *callbacks], eval_every, log_every)
        values = (
            np.concatenate(trainer.compiled_step.values) if trainer.compiled_step.values else np.zeros((0, 8))
        )
        return types.SimpleNamespace(
            trainer=trainer,
            model=model,
            losses=values[:, 0] / np.maximum(values[:, 2], 1),
            norms=values[:, 3],
            left_out=values[:, 5:8].astype(bool),
            skipped=values[:, 5:8].any(axis=1),
            calls=[len(call) for call in trainer.compiled_step.values],
            weights=[weight.numpy() for weight in model.trainable_variables],
            said=said,
        )

    return run
