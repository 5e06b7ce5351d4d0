"""Steps whose numbers go wrong: caught before they touch the weights, also in the middle of a call."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.training.guard import MOST_IN_A_ROW, Guard
from lm_keras.training.step import TrainingStep

WRONG = 7
"""The step whose numbers go wrong in these tests: the second of a call of five."""

COMMON = {"sequence_length": 3, "batch_size": 16, "steps": 19, "optimizer": "adamw", "learning_rate": 0.01}
ORIGINAL = TrainingStep._over_micro_batches


@pytest.fixture
def settings(tiny_config):
    def make(**changed):
        return tiny_config(**{**COMMON, "steps_per_call": 5, **changed})

    return make


@pytest.fixture
def wrong(monkeypatch):
    """A function that multiplies what one replica sums up at `WRONG` (or whenever): gradients, loss and
    state.
    """

    def break_step(gradient=1.0, loss=1.0, state=1.0, always=False, at=WRONG):
        def broken(self, batch, carried, number, rates):
            summed, after = ORIGINAL(self, batch, carried, number, rates)
            *gradients, nats, correct, weight = summed
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            now = (tf.equal(number, at - 1) | always) & tf.equal(replica, 0)
            by = lambda factor: tf.where(now, factor, 1.0)  # noqa: E731
            first = gradients[0] * by(gradient)
            after = tf.nest.map_structure(lambda value: value * by(state), after)
            return [first, *gradients[1:], nats * by(loss), correct, weight], after

        monkeypatch.setattr(TrainingStep, "_over_micro_batches", broken)

    return break_step


class Weights(keras.callbacks.Callback):
    """Keeps the weights and the slots after each call."""

    def __init__(self):
        super().__init__()
        self.after, self.logs = {}, {}

    def on_train_batch_end(self, batch, logs=None):
        variables = [*self.model.trainable_variables, *self.model.optimizer.variables]
        self.after[logs["step"]] = [np.array(v) for v in variables if "learning_rate" not in v.name]
        self.logs[logs["step"]] = logs


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


NONFINITE = {
    "gradient": {"gradient": np.inf}, "loss": {"loss": np.nan}, "both": {"gradient": np.nan, "loss": np.nan},
    "all of it": {"gradient": np.nan, "loss": np.nan, "state": np.nan},
}  # fmt: skip


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("what", NONFINITE)
def test_a_step_that_is_not_finite_is_skipped(settings, fit, leaky, wrong, what, replicas):
    wrong(**NONFINITE[what])
    single, several = Weights(), Weights()
    fit(settings(on_nonfinite="skip", steps_per_call=1), leaky, callbacks=[single])
    run = fit(settings(on_nonfinite="skip", replicas=replicas), leaky, callbacks=[several])
    assert list(several.after) == [5, 8, 13, 16, 19]  # an epoch has eight steps
    assert np.flatnonzero(run.skipped).tolist() == [WRONG - 1]
    assert equal(single.after[WRONG], single.after[WRONG - 1])  # weights, slots and the optimizer's own count
    assert not equal(single.after[WRONG + 1], single.after[WRONG])
    assert all(np.isfinite(value).all() for value in several.after[19])
    if replicas == 1:
        assert equal(several.after[19], single.after[19])
    assert all(
        np.isfinite(value).all()
        for value in tf.nest.flatten(run.trainer._workers.gathered(run.trainer._state[0]["h"]))
    )
    assert run.trainer.left_out == {"overflowed": 0, "nonfinite": 1, "spiked": 0}
    assert run.said == [f"step {WRONG} was left out: its loss or gradient is not finite"]
    last = several.logs[19]
    assert last["skipped"] == 1
    assert last["loss"] == pytest.approx(run.losses[~run.skipped].mean(), rel=0.02)
    assert last["gradient_norm"] == pytest.approx(run.norms[~run.skipped].mean(), rel=1e-5)


@pytest.mark.parametrize("what", ["gradient", "loss"])
def test_a_step_that_is_not_finite_ends_the_run(settings, fit, leaky, wrong, what):
    """With the weights of the step before, although it is in the middle of a call."""
    good = fit(settings(steps=WRONG - 1, learning_rate_schedule="constant"), leaky)
    wrong(**NONFINITE[what])
    kept = []

    def build():
        kept.append(leaky())
        return kept[-1]

    with pytest.raises(InputError) as caught:
        fit(settings(learning_rate_schedule="constant"), build)
    assert (
        str(caught.value)
        == "the loss or its gradient is not finite at step 7, which was left out; the checkpoints"
        " before are kept. If it is a single step, go on with --on_nonfinite=skip; else begin a new run in"
        " another --run_dir with a lower --learning_rate or a --clip_norm"
    )
    assert equal([weight.numpy() for weight in kept[0].trainable_variables], good.weights)


def test_without_the_guard_the_weights_are_lost(settings, fit, leaky, wrong, monkeypatch):
    """The control of the tests above."""
    wrong(**NONFINITE["gradient"])
    nothing = dict.fromkeys(("overflowed", "nonfinite", "spiked"), tf.constant(False))
    monkeypatch.setattr(Guard, "__call__", lambda self, loss, norm, scale, recent, empty: (nothing, recent))
    run = fit(settings(), leaky)
    assert not all(np.isfinite(weight).all() for weight in run.weights)


def test_a_run_that_leaves_everything_out_ends(settings, fit, leaky, wrong):
    wrong(loss=np.nan, always=True)
    with pytest.raises(
        InputError, match="the last 100 steps up to step 100 were all left out, so nothing is learnt"
    ):
        fit(settings(on_nonfinite="skip", steps=MOST_IN_A_ROW + 30), leaky)


SPIKES = {"gradient": 1e6, "loss": 1e6}


@pytest.mark.parametrize("what", SPIKES)
def test_a_spike_is_left_out(settings, fit, leaky, wrong, what):
    wrong(**{what: SPIKES[what]}, at=14)
    run = fit(settings(spike_sigma=8.0, spike_window=10, replicas=2), leaky)
    assert np.flatnonzero(run.skipped).tolist() == [13]
    assert run.trainer.left_out == {"overflowed": 0, "nonfinite": 0, "spiked": 1}
    assert run.said == [
        "step 14 was left out: its loss or gradient norm lies more than 8 standard deviations above the last"
        " steps"
    ]
    # The controls: without the guard, and before its window is full.
    assert not fit(settings(replicas=2), leaky).skipped.any()
    assert not fit(settings(spike_sigma=8.0, spike_window=14, replicas=2), leaky).skipped.any()


SCORED = tf.constant(False)
"""A step that has targets."""


def judged(guard, losses, norms=None, recent=None):
    """Return for which steps a guard sees a spike, and what it knows then."""
    recent = recent or guard.recent()
    found = []
    for place, loss in enumerate(losses):
        norm = norms[place] if norms else 1.0
        left_out, recent = guard(tf.constant(loss), tf.constant(norm), tf.ones([]), recent, SCORED)
        found.append(bool(left_out["spiked"]))
    return found, recent


def test_a_spike_equals_a_direct_computation():
    random = np.random.default_rng(3)
    losses = (3 + random.normal(size=300).astype(np.float32)).clip(0.1)
    norms = np.exp(random.normal(size=300)).astype(np.float32)
    found, _ = judged(Guard("stop", 2.0, 20, False), losses.tolist(), norms.tolist())
    history, expected = [], []
    for now in zip(losses, norms):
        bound = np.full(2, np.inf)
        if len(history) == 20:
            mean = np.mean(history, axis=0)
            bound = mean + 2.0 * np.maximum(np.std(history, axis=0), 1e-3 * mean)
        expected.append(bool((now > bound).any()))
        history = [*history, np.minimum(now, bound)][-20:]
    assert found == expected
    assert 5 < sum(found) < 60


def test_a_lasting_change_is_accepted_and_one_spike_hides_no_other():
    guard = Guard("stop", 4.0, 10, False)
    steady = [1.0, 1.1] * 10
    assert judged(guard, [*steady, 1e30, *steady, 5.0])[0] == [*[False] * 20, True, *[False] * 20, True]
    assert judged(guard, [*[1.0] * 20, 1.001])[0][-1] is False  # all were equal, and this is no spike
    found, _ = judged(guard, [*steady, *[2.0] * 40])
    assert found[20] and not any(found[-20:])


def test_what_the_guard_remembers_is_saved(settings):
    guard = Guard("stop", 4.0, 10, False)
    losses = np.random.default_rng(0).random(14, np.float32).tolist()
    for count in (0, 4, 14):
        _, recent = judged(guard, losses[:count])
        again = guard.recent(json.loads(json.dumps(guard.saved(recent))))
        assert equal(
            [value.numpy() for value in again.values()], [value.numpy() for value in recent.values()]
        )
        assert len(guard.saved(recent)) == min(count, 10)
    assert Guard("stop", 0.0, 10, False).saved(Guard("stop", 0.0, 10, False).recent()) == []


def test_a_step_without_a_target_is_no_spike_and_is_forgotten():
    guard = Guard("stop", 4.0, 3, False)
    _, before = judged(guard, [1.0, 1.1, 0.9])
    for norm in (0.0, 1e30):  # That of penalties alone may be anything.
        left_out, recent = guard(tf.zeros([]), tf.constant(norm), tf.ones([]), before, tf.constant(True))
        assert not any(map(bool, left_out.values()))
        assert equal([v.numpy() for v in recent.values()], [v.numpy() for v in before.values()])
    assert bool(guard(tf.zeros([]), tf.constant(norm), tf.ones([]), before, SCORED)[0]["spiked"])


def test_float16_gradients_that_overflow_at_the_least_scale_are_not_finite():
    guard = Guard("stop", 0.0, 10, True)
    for scale, reason in [(2.0, "overflowed"), (1.0, "nonfinite")]:
        left_out, _ = guard(
            tf.constant(3.0), tf.constant(np.nan, tf.float32), tf.constant(scale), guard.recent(), SCORED
        )
        assert [name for name, holds in left_out.items() if bool(holds)] == [reason]
    left_out, _ = guard(
        tf.constant(np.inf, tf.float32), tf.constant(1.0), tf.constant(2.0), guard.recent(), SCORED
    )
    assert bool(left_out["nonfinite"])
