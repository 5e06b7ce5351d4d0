"""The loop: hooks in the documented order, others' callbacks, schedules that are exact within a call,
signals.
"""

import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.trainers import trainer_of
from lm_keras import optimizers, schedules
from lm_keras.callbacks import EarlyStopping, PlateauDecay
from lm_keras.config import from_flat
from lm_keras.data import pipeline
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError
from lm_keras.training import building, conditions, memory
from lm_keras.training.signals import MEANING, caught
from lm_keras.training.step import TrainingStep
from lm_keras.training.trainer import Trainer

ROOT = Path(__file__).parents[2]

V, B, T, PER_EPOCH = 19, 16, 3, 8
"""359 targets in 16 rows of 3: 8 steps see all of them."""


class SGD(keras.optimizers.SGD):
    """SGD that writes down the learning rate of every step, within the compiled step."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rates = tf.Variable(tf.zeros([64]))

    def apply(self, grads, trainable_variables=None):
        self.rates.scatter_nd_update([[tf.cast(self.iterations.value, tf.int32)]], [self.learning_rate.value])
        super().apply(grads, trainable_variables)


@pytest.fixture
def settings(tiny_config, monkeypatch):
    """A function from settings to a config: SGD with a constant rate of 0.5, five steps a call."""
    monkeypatch.setitem(optimizers.OPTIMIZERS, "sgd", SGD)

    def make(**changed):
        usual = {
            "optimizer": "sgd", "learning_rate": 0.5, "learning_rate_schedule": "constant",
            "steps_per_call": 5,
            "batch_size": B, "sequence_length": T,
        }  # fmt: skip
        return tiny_config(**{**usual, **changed})

    return make


def rates_of(run):
    return run.model.optimizer.rates.numpy()[: run.trainer.step]


def scripted(*losses):
    """An evaluation that returns one loss after the other."""
    losses = list(losses)

    def evaluate(step):
        loss = losses.pop(0)
        return {
            "step": step,
            "split": "valid",
            "nats_per_token": loss,
            "accuracy": 0.5,
            "perplexity": 9.0,
        } | {"bits_per_byte": None}

    return evaluate


class Hooks(keras.callbacks.Callback):
    """Writes down every hook with its argument and its logs."""

    def __init__(self):
        super().__init__()
        self.calls, self.logs = [], []

    def _note(name):
        def hook(self, *args, logs=None):
            self.calls.append((name, *args[:1]) if "batch" in name or "epoch" in name else (name,))
            self.logs.append(logs if logs is not None else (args[-1] if args else None))

        return hook

    on_train_begin, on_train_end = _note("train_begin"), _note("train_end")
    on_epoch_begin, on_epoch_end = _note("epoch_begin"), _note("epoch_end")
    on_train_batch_begin, on_train_batch_end = _note("batch_begin"), _note("batch_end")
    on_test_begin, on_test_end = _note("test_begin"), _note("test_end")

    def logs_of(self, name):
        return [logs for call, logs in zip(self.calls, self.logs) if call[0] == name]


def test_hooks_come_in_the_documented_order(settings, fit, leaky):
    hooks = Hooks()
    run = fit(settings(steps=19), leaky, callbacks=[hooks], evaluate=scripted(3, 2.5, 2.7, 2.6), eval_every=6)
    test = [("test_begin",), ("test_end",)]
    assert hooks.calls == [
        ("train_begin",),
        ("epoch_begin", 0),
        ("batch_begin", 0), ("batch_end", 4),
        ("batch_begin", 5), *test, ("batch_end", 5),
        ("batch_begin", 6), ("batch_end", 7),
        ("epoch_end", 0),
        ("epoch_begin", 1),
        ("batch_begin", 0), *test, ("batch_end", 3),
        ("batch_begin", 4), ("batch_end", 7),
        ("epoch_end", 1),
        ("epoch_begin", 2),
        ("batch_begin", 0), *test, ("batch_end", 1),
        ("batch_begin", 2), *test, ("batch_end", 2),
        ("train_end",),
    ]  # fmt: skip
    assert (hooks.params["epochs"], hooks.params["steps"]) == (3, PER_EPOCH)
    assert hooks.model is run.model
    ends = hooks.logs_of("batch_end")
    assert [logs["step"] for logs in ends] == [5, 6, 8, 12, 16, 18, 19]
    assert [logs.get("val_loss") for logs in ends] == [None, 3, None, 2.5, None, 2.7, 2.6]
    assert [logs["loss"] for logs in hooks.logs_of("test_end")] == [3, 2.5, 2.7, 2.6]
    assert [logs["step"] for logs in hooks.logs_of("epoch_end")] == [8, 16]
    for logs in ends:
        assert 2 < logs["loss"] < 4
        assert logs["perplexity"] == pytest.approx(np.exp(logs["loss"]))
        assert logs["bits_per_byte"] == pytest.approx(logs["loss"] / np.log(2) / 2)  # two bytes a token
        assert 0 <= logs["accuracy"] <= 1
        assert (logs["learning_rate"], logs["dropout"]) == (0.5, 0.0)
        assert logs["gradient_norm"] > 0
    assert isinstance(run.model.history, keras.callbacks.History)
    assert len(run.model.history.history["loss"]) == 2


def test_logs_are_means_since_the_last_line(settings, fit, leaky):
    hooks = Hooks()
    run = fit(settings(steps=12), leaky, callbacks=[hooks], log_every=6)
    ends, weights = hooks.logs_of("batch_end"), np.concatenate(run.trainer.compiled_step.values)[:, 2]
    assert [logs["step"] for logs in ends] == [5, 6, 8, 12]
    assert weights[7] < weights[0]  # the last batch of the epoch is not full
    for logs, part in zip(ends, [slice(0, 5), slice(0, 6), slice(6, 8), slice(6, 12)]):
        assert logs["loss"] == pytest.approx(np.average(run.losses[part], weights=weights[part]), rel=1e-6)
        assert logs["gradient_norm"] == pytest.approx(run.norms[part].mean(), rel=1e-6)
    assert abs(np.average(run.losses[6:12]) / ends[-1]["loss"] - 1) > 1e-6  # not the mean of means


def test_the_learning_rate_is_exact_at_every_step_of_a_call(settings, fit, leaky):
    text = "cosine:final=0.1"
    run = fit(settings(steps=23, learning_rate_schedule=text, warmup_steps=4), leaky)
    curve = schedules.build(text, 23, 4)
    assert run.calls == [5, 3, 5, 3, 5, 2]
    assert rates_of(run).tolist() == [np.float32(0.5 * curve(step)) for step in range(23)]
    assert len(set(rates_of(run))) > 20
    assert run.said == []


class Zeros:
    """Mixed into a network: writes down the share of zeros in the features of every step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.shares = tf.Variable(tf.zeros([32]), trainable=False)

    def forward(self, inputs, state, draw=None, training=False):
        features, state = super().forward(inputs, state, draw, training)
        if draw is not None:
            share = tf.reduce_mean(tf.cast(features == 0, tf.float32))
            self.shares.scatter_nd_update([[draw.step]], [share])
        return features, state


@pytest.mark.parametrize("schedule", ["linear:initial=0,final=1", "constant"])
def test_the_dropout_rate_really_changes_in_the_compiled_step(settings, fit, leaky, schedule):
    hooks, counted = Hooks(), type("Counted", (Zeros, leaky), {})
    config = settings(steps=24, dropout=0.6, dropout_schedule=schedule)
    run = fit(config, lambda: counted(width=61, dropout=0.6), callbacks=[hooks])
    curve = schedules.build(schedule, 24)
    wanted = np.array([0.6 * curve(step) for step in range(24)])
    shares = run.model.shares.numpy()[:24]
    np.testing.assert_allclose(shares, wanted, atol=0.05)
    rising = np.linspace(0, 0.6, 24, endpoint=False)
    assert (np.abs(shares - rising).max() < 0.05) == (schedule != "constant")
    assert hooks.logs_of("batch_end")[-1]["dropout"] == pytest.approx(wanted[-1])


class Replaced:
    """Mixed into a network: writes down the share of tokens V - 1, which stand in no text, in every step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.shares = tf.Variable(tf.zeros([32]), trainable=False)
        self.steps = tf.Variable(0, trainable=False)

    def forward(self, inputs, state, draw=None, training=False):
        share = tf.reduce_mean(tf.cast(inputs["tokens"] == V - 1, tf.float32))
        self.shares.scatter_nd_update([[self.steps]], [share])
        self.steps.assign_add(1)
        return super().forward(inputs, state, draw, training)


@pytest.mark.parametrize("schedule", ["linear:initial=0,final=1", "constant", "linear:initial=0,final=0"])
def test_the_noise_really_changes_in_the_compiled_step(settings, fit, leaky, store_of, schedule):
    hooks, counted = Hooks(), type("Counted", (Replaced, leaky), {})
    config = settings(steps=24, batch_size=160, token_noise=0.6, token_noise_schedule=schedule)
    store, blank = store_of(12_000, V - 1), np.arange(V) == V - 1
    run = fit(config, counted, store, callbacks=[hooks], replaced_by=blank)
    curve = schedules.build(schedule, 24)
    wanted = np.array([0.6 * curve(step) for step in range(24)])
    np.testing.assert_allclose(run.model.shares.numpy()[:24], wanted, atol=0.1)  # 480 tokens each
    assert np.abs(run.model.shares.numpy()[:24] - wanted).mean() < 0.03
    assert run.trainer.compiled_step.traces == 1
    assert hooks.logs_of("batch_end")[-1]["token_noise"] == pytest.approx(wanted[-1])
    # Noise at a rate of 0 is no noise, to the last bit.
    without = fit(settings(steps=24, batch_size=160), leaky, store, callbacks=[hooks])
    same = [np.array_equal(a, b) for a, b in zip(run.weights, without.weights, strict=True)]
    assert all(same) == (wanted.max() == 0)
    assert "token_noise" not in hooks.logs_of("batch_end")[-1]


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word", "sentencepiece"])
def test_what_the_noise_of_a_run_draws(tiny_config, tokenizer):
    size = 310 if tokenizer == "sentencepiece" else None
    config = tiny_config(token_noise=0.3, tokenizer=tokenizer, vocab_size=size)
    data = prepare(config.data, needs_mask=True)
    vocab_size = data.tokenizer.vocab_size
    counts = np.bincount(data.splits["train"].tokens[1:], minlength=vocab_size)
    unigram = building.token_noise(config.learning, data)
    assert unigram.initial_rate == 0.3
    np.testing.assert_array_equal(unigram.weights_of_tokens, counts)
    blank = building.token_noise(dataclasses.replace(config.learning, token_noise_kind="blank"), data)
    place = vocab_size - 1 if tokenizer in ("byte", "word") else 1
    np.testing.assert_array_equal(blank.weights_of_tokens, np.arange(vocab_size) == place)
    assert counts[place] == 0  # no text is the blank token


def test_reduce_lr_on_plateau_of_keras(settings, fit, leaky):
    callback = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.1, patience=2)
    run = fit(
        settings(steps=32), leaky, callbacks=[callback], evaluate=scripted(2, 3, 3, 3), eval_every=PER_EPOCH
    )
    np.testing.assert_allclose(rates_of(run), [0.5] * 24 + [0.05] * 8, rtol=1e-6)
    assert run.said == [
        "a callback set the learning rate to 0.05 at step 24; the schedule goes on at 0.1 times its values"
    ]


def test_learning_rate_scheduler_of_keras(settings, fit, leaky):
    """It halves what it finds, from the very first epoch on; the table's own decay goes on."""
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    run = fit(settings(steps=22, learning_rate_schedule="linear"), leaky, callbacks=[callback])
    wanted = [0.5 * (1 - step / 22) * 0.5 ** (1 + step // PER_EPOCH) for step in range(22)]
    np.testing.assert_allclose(rates_of(run), wanted, rtol=1e-6)
    assert len(run.said) == 3  # once for each change, not for each call
    assert len(run.calls) > 4


def test_a_scheduler_that_changes_nothing_is_not_spoken_of(settings, fit, leaky):
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    assert fit(settings(steps=19), leaky, callbacks=[callback]).said == []


def test_plateau_decay_lowers_the_rate_to_its_floor(settings, fit, leaky):
    plateau = schedules.plateau_of("plateau:factor=0.25,patience=0,floor=0.1")
    config = settings(steps=20, learning_rate_schedule="plateau:factor=0.25,patience=0,floor=0.1")
    losses = scripted(3, 2, 2.5, None, 2.4)
    run = fit(config, leaky, callbacks=[PlateauDecay(plateau, 0.5)], evaluate=losses, eval_every=4)
    wanted = [0.5] * 12 + [0.125] * 4 + [0.05] * 4  # 2.5 is no improvement, no finite number is none either
    np.testing.assert_allclose(rates_of(run), wanted, rtol=1e-6)


@pytest.mark.parametrize("losses", [(3, 2, 2.1, 2.2), (3, 2, 2, None), (None,) * 2])
def test_early_stopping_waits_for_evaluations(settings, fit, leaky, losses):
    run = fit(
        settings(steps=32), leaky, callbacks=[EarlyStopping(2)], evaluate=scripted(*losses), eval_every=4
    )
    assert run.trainer.step == 4 * len(losses)


def test_early_stopping_of_keras(settings, fit, leaky):
    callback = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, restore_best_weights=True)
    losses = scripted(2.0, 2.5, 1.0, 1.0)
    run = fit(settings(steps=32), leaky, callbacks=[callback], evaluate=losses, eval_every=PER_EPOCH)
    assert run.trainer.step == 16
    eight = fit(settings(steps=8), leaky)
    for weight, best in zip(run.weights, eight.weights, strict=True):
        np.testing.assert_array_equal(weight, best)


def test_a_loss_that_is_not_finite_ends_the_run(settings, fit, leaky):
    """Before any callback sees it, so that nobody saves such weights."""
    hooks = Hooks()
    with pytest.raises(InputError, match="not finite at step 2, which was left out"):
        fit(settings(steps=19, learning_rate=1e30, clip_norm=0.0), leaky, callbacks=[hooks])
    assert not any(call[0] == "batch_end" for call in hooks.calls)


def test_a_call_is_no_longer_than_the_shortest_interval(settings, fit, leaky):
    """Tables of two thousand million rates would not fit into memory."""

    def stop(batch, logs):
        callback.model.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    run = fit(settings(steps=2**31 - 1, steps_per_call=2**31 - 1), leaky, callbacks=[callback], log_every=7)
    assert run.calls == [7]


def test_a_stop_takes_effect_at_the_next_call(settings, fit, leaky):
    hooks = Hooks()

    def stop(batch, logs):
        run_of.model.stop_training = logs["step"] >= 6

    run_of = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    run = fit(settings(steps=19), leaky, callbacks=[run_of, hooks], evaluate=scripted(3), eval_every=6)
    assert run.calls == [5, 1]
    assert hooks.calls[-2:] == [("batch_end", 5), ("train_end",)]


def test_rows_begin_with_the_end_of_a_document_where_the_text_has_few(settings, fit, leaky, store_of):
    few = store_of(359)
    many = dataclasses.replace(few, documents=np.arange(1, 359, 20))
    config = settings(steps=1)
    assert len(few.documents) < config.batches.batch_size < len(many.documents)
    assert fit(config, leaky, few).trainer.order.resets_begin_documents
    assert not fit(config, leaky, many).trainer.order.resets_begin_documents


@pytest.mark.parametrize(
    ("of_others", "number"),
    [
        ((0, 0, 0, 0), None),
        ((0, 1, 0, 0), signal.SIGTERM),
        ((1, 1, 0, 0), signal.SIGINT),
        ((0, 0, 2, 0), signal.SIGHUP),
        ((0, 0, 0, 1), None),
    ],
)
def test_another_worker_ends_the_run(settings, fit, leaky, monkeypatch, of_others, number):
    """Whatever one of them wants, all end after the same call."""
    monkeypatch.setattr(
        "lm_keras.training.workers.Workers.total", lambda self, *own: [a + b for a, b in zip(own, of_others)]
    )
    run = fit(settings(steps=19), leaky)
    assert run.trainer.signal == number
    assert run.trainer.step == (0 if any(of_others) else 19)


def test_to_stop_and_to_go_on_is_to_go_through(settings, fit, leaky):
    """The carried state and the optimizer go on where they were."""
    config = settings(steps=19, optimizer="adamw", learning_rate=0.01)
    whole = fit(config, leaky)

    def stop(batch, logs):
        callback.model.stop_training = logs["step"] == 5

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    parts = fit(config, leaky, callbacks=[callback])
    assert parts.trainer.step == 5
    schedule = [c for c in parts.trainer._stateful if c.interval is None]
    parts.trainer.train(schedule, 10**6, 10**6)
    assert parts.trainer.step == 19
    for weight, other in zip(parts.model.trainable_variables, whole.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), other)
    for value, other in zip(*(tf.nest.flatten(run.trainer._state) for run in (parts, whole)), strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize(
    ("number", "counts_as"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGHUP),
        (signal.SIGUSR1, signal.SIGTERM),
        (signal.SIGUSR2, signal.SIGTERM),
    ],
)
def test_a_signal_stops_at_the_next_call(settings, fit, leaky, number, counts_as):
    handlers = []

    class Killed(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if logs["step"] == 5:
                handlers.append(signal.getsignal(signal.SIGTERM))
                os.kill(os.getpid(), number)
                handlers.extend(map(signal.getsignal, MEANING))

    before = [signal.getsignal(each) for each in MEANING]
    hooks = Hooks()
    run = fit(settings(steps=19), leaky, callbacks=[Killed(), hooks])
    assert (run.trainer.signal, run.trainer.step) == (counts_as, 5)
    assert hooks.calls[-1] == ("train_end",)
    assert handlers[0] not in before
    assert handlers[1:] == handlers[:1] * len(MEANING)
    assert [signal.getsignal(each) for each in MEANING] == before


def test_what_is_ignored_or_handled_by_others_stays_so(settings, fit, leaky):
    """As under `nohup`. Ctrl-C and SIGTERM are always caught: a shell ignores SIGINT for what it starts in
    the background.
    """
    own = lambda number, frame: None  # noqa: E731
    before = {number: signal.getsignal(number) for number in MEANING}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, own)
        assert caught() == [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2]
        hang_up = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: os.kill(os.getpid(), signal.SIGHUP)
        )
        run = fit(settings(steps=19), leaky, callbacks=[hang_up])
        assert (run.trainer.signal, run.trainer.step) == (None, 19)
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def during_a_step(monkeypatch):
    """A function that lets something be done in a process while it carries out a step of a call."""

    def let(step, act):
        original, count = TrainingStep._clock, itertools.count(1)

        def act_then():
            if (
                next(count) == 2 * step - 1
            ):  # The clock is read twice a step, first before its batch is asked for.
                act()
            return np.zeros([])

        def clock(self):
            with tf.control_dependencies([tf.numpy_function(act_then, [], tf.float64, stateful=True)]):
                return original(self)

        monkeypatch.setattr(TrainingStep, "_clock", clock)

    return let


@pytest.mark.parametrize(("count", "step"), [(1, 7), (2, 8)])
def test_a_signal_ends_a_call_after_its_step(settings, fit, leaky, during_a_step, monkeypatch, count, step):
    """Several workers carry out the whole call, to the end of the epoch, as the others do."""
    monkeypatch.setattr("lm_keras.training.workers.Workers.total", lambda self, *own: list(own))
    original, trainers = Trainer.__init__, []

    def of_so_many(self, *args, **settings):
        original(self, *args, **settings)
        self._workers.count = count
        trainers.append(self)

    monkeypatch.setattr(Trainer, "__init__", of_so_many)

    def act():
        os.kill(os.getpid(), signal.SIGTERM)
        until = time.monotonic() + (10 if count == 1 else 0.5)
        while not trainers[0].compiled_step.stopped.numpy() and time.monotonic() < until:
            time.sleep(0.01)

    during_a_step(7, act)
    run = fit(settings(steps=19, steps_per_call=10), leaky)
    assert (run.trainer.signal, run.trainer.step) == (signal.SIGTERM, step)


TWICE = """
import os, signal, sys, time
from lm_keras.training.signals import Signals

stopped = []
with Signals(lambda: stopped.append(1)):
    for number, seconds in zip(map(int, sys.argv[1::2]), map(float, sys.argv[2::2])):
        os.kill(os.getpid(), number)
        time.sleep(seconds)
print(stopped)
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ((2, 0.3), 0),
        ((15, 0.0, 15, 0.3), 0),
        ((15, 0.7, 15, 9), 143),
        ((2, 0.7, 15, 9), 143),
        ((15, 0.7, 2, 9), 130),
        ((1, 0.7, 15, 0.7, 15, 9), 143),
        ((1, 0.7, 1, 0.7, 10, 0.7, 15, 0.3), 0),
    ],
)
def test_a_second_signal_ends_at_once(signals, code):
    """But not the same wish told twice, and none by which a terminal or a scheduler announces the end."""
    words = [sys.executable, "-c", TWICE, *map(str, signals)]
    ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == code
    assert ended.stdout == ("[1]\n" if not code else "")
    first = "\nstopping after this step\n" if signals[0] == 1 else ""
    assert ended.stderr == f"{first}\nstopping after this step; once more ends at once, without saving\n"


IN_OTHER_CODE = """
import hashlib, os, threading
from lm_keras.training.signals import Signals

with Signals(lambda: None):
    for seconds, number in ((0.1, 2), (0.8, 15)):
        threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # Half a minute in which Python is not asked.
"""


def test_a_second_signal_ends_at_once_whatever_is_carried_out():
    began = time.monotonic()
    words = [sys.executable, "-c", IN_OTHER_CODE]
    ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10


def test_memory_is_kept_from_the_first_batch_on(monkeypatch):
    """TensorFlow lowers glibc's thresholds as it makes an iterator; only what is set after that holds."""
    events = []
    libc = type("Libc", (), {"mallopt": lambda self, name, value: events.append((name, value))})
    monkeypatch.setattr(memory, "LIBC", libc())
    trainer = trainer_of(from_flat({"vocab_size": 20, "tokenizer": "char", "steps": 10}))
    distribute = trainer.strategy.distribute_datasets_from_function
    monkeypatch.setattr(
        trainer.strategy,
        "distribute_datasets_from_function",
        lambda make: events.append("iterator") or distribute(make),
    )
    assert not events
    trainer._distributed_batches()
    kept = [(memory.M_MMAP_THRESHOLD, 32 << 20), (memory.M_TRIM_THRESHOLD, 1 << 30)]
    assert events == ["iterator", *kept]
    monkeypatch.setattr(memory, "LIBC", object())  # Another C library, which has no such function.
    memory.keep_freed_memory()


def test_too_little_memory_says_how_much_was_asked_for(monkeypatch):
    asked = tf.function(lambda n: tf.reduce_sum(tf.random.uniform([n, n])))
    with pytest.raises(InputError) as caught, conditions.enough_memory():
        asked(tf.constant(10**7))
    line = str(caught.value)
    assert line.startswith(
        "the memory of the device is not enough (OOM when allocating tensor with shape[10000000,"
    )
    assert line.endswith("); take a smaller --batch_size or network, or more --micro_batches")


@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (Trainer, "_logs", InputError("the disk is full")),
        (TrainingStep, "__call__", tf.errors.ResourceExhaustedError(None, None, "out")),
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_nothing_reads_on_after_an_error(settings, fit, leaky, monkeypatch, place, name, error, ends):
    """A reader that is still calling Python while the interpreter ends makes the process wait for ever."""
    reads, gather, call = [], pipeline.gather, getattr(place, name)

    def slow(*arguments):
        time.sleep(0.2)
        reads.append(1)
        return gather(*arguments)

    def failing(of, first, *arguments):
        call(of, first, *arguments)
        raise error

    monkeypatch.setattr(pipeline, "gather", slow)
    monkeypatch.setattr(place, name, failing)
    if not ends:
        monkeypatch.setattr(Trainer, "_reading", held)
    with pytest.raises(type(error)) as caught:  # Its traceback holds the frames.
        fit(settings(steps=30, steps_per_call=1), leaky)
    done = len(reads)
    time.sleep(0.5)
    assert (len(reads) == done) == ends
    assert caught.value is error


@contextlib.contextmanager
def held(trainer):
    trainer._batches = trainer._distributed_batches()
    yield
