"""The loop: compiled steps in between, standard Keras callbacks around them."""

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.callbacks.base import StepCallback
from lm_keras.callbacks.schedules import ScheduleCallback
from lm_keras.checkpoints.state import understood
from lm_keras.config import Config
from lm_keras.data.batch import Batch
from lm_keras.data.order import Rows
from lm_keras.data.pipeline import training_batches
from lm_keras.data.store import TokenStore
from lm_keras.layers import TokenNoise
from lm_keras.objectives.measures import MEASURES, finite
from lm_keras.privacy.private_step import PrivateStep
from lm_keras.registry import SCORES
from lm_keras.tasks.task import Task
from lm_keras.training.distribution import Devices
from lm_keras.training.guard import LeftOut
from lm_keras.training.memory import keep_freed_memory
from lm_keras.training.meter import Meter
from lm_keras.training.signals import STOPS, Signals
from lm_keras.training.step import TrainingStep

LONGEST_CALL = 10_000
"""Steps of a call, whatever `--steps_per_call` says: the tables that it takes have as many values."""


@dataclasses.dataclass(frozen=True)
class Learner:
    """A network and what it learns.

    Attributes:
        model: the network, with `model.optimizer` built; both made in the scope of a strategy.
        task: what it predicts of the text.
        noise: replaces tokens before the network reads them; None for none.
        private: limits what the weights reveal of the text, which `task` samples then; None for no limit.
    """

    model: keras.Model
    task: Task
    noise: TokenNoise | None = None
    private: PrivateStep | None = None


class Trainer:
    """Trains a network on a token store, from any step to any step.

    Args:
        learner: the network and its task.
        devices: how the rows of a batch are shared, and the processes that train together.
        config: the settings of the run.
        store: the training text.
        total_steps: length of the run.
        evaluate: returns the validation results at a step, or None if there is no validation text.
        say: called with a line that a person should read.
    """

    def __init__(
        self,
        learner: Learner,
        devices: Devices,
        config: Config,
        store: TokenStore,
        total_steps: int,
        evaluate: Callable[[int], dict] | None,
        say: Callable[[str], None] = lambda line: None,
    ):
        model, noise = learner.model, learner.noise
        self.model, self.task, self.order = model, learner.task, learner.task.order(store)
        self.strategy, self._workers = devices.strategy, devices.workers
        self.config, self.total_steps = config, total_steps
        self.step, self.signal, self.meter, self.seconds = 0, None, Meter(), 0.0
        self._store, self._evaluate, self._say = store, evaluate, say
        self._tokens_per_target = self.task.tokens_per_target(store)
        self._untimed = config.running.deterministic  # TensorFlow has no clock then.
        private = self._private = learner.private
        self.compiled_step = TrainingStep(model, model.optimizer, self.strategy, config, noise, private)
        # What holds where no callback has a schedule for it.
        self._rates = {"dropout": config.model.dropout}
        if noise is not None:
            self._rates["token_noise"] = config.learning.token_noise
        # A rate that a callback sets is compared with the last one of the loop, at first the optimizer's.
        self._rate_scale, self._rate_set = 1.0, float(model.optimizer.learning_rate.numpy())
        self._speed: float | None = None
        state = model.initial_state(config.batches.batch_size)
        self._carried = tf.nest.map_structure(lambda value: tf.Variable(value, trainable=False), state)
        self._state = self._batches = None
        self._recent = self.compiled_step.guard.recent()
        self._left_out = LeftOut(self.compiled_step.guard, say)
        self._stateful: list[StepCallback] = []
        self._callback_states: dict[str, dict] = {}

    @property
    def left_out(self) -> dict[str, int]:
        """Return how many steps were left out, by reason."""
        return self._left_out.counts

    # What a checkpoint holds

    def tensors(self) -> dict:
        """Return what a checkpoint tracks: weights, optimizer slots, carried state of the global batch."""
        if self._state is not None:
            tf.nest.map_structure(
                lambda variable, value: variable.assign(self._workers.gathered(value)),
                self._carried,
                self._state,
            )
        return {
            "model": self.model.variables,
            "optimizer": self.model.optimizer.variables,
            "carried": tf.nest.flatten(self._carried),
        }

    def progress(self) -> dict:
        """Return the rest of a checkpoint, as JSON values."""
        return {
            "meter": self.meter.saved(),
            "seconds": self.seconds,
            "learning_rate_scale": self._rate_scale,
            "learning_rate_set": self._rate_set,
            "left_out": self.left_out,
            "left_out_in_a_row": self._left_out.in_a_row,
            "recent": self.compiled_step.guard.saved(self._recent),
            "callbacks": {type(callback).__name__: callback.state() for callback in self._stateful},
        }

    def restore(self, step: int, progress: dict) -> None:
        """Go on from a checkpoint whose tensors have been read; `train` restores the callbacks."""
        self.step = step
        with understood(step):
            self.meter = Meter.of_saved(progress["meter"])
            self.seconds = progress["seconds"]
            self._rate_scale = progress["learning_rate_scale"]
            # Not the optimizer's rate: a callback may have set that one after the last step.
            self._rate_set = progress["learning_rate_set"]
            self._recent = self.compiled_step.guard.recent(progress["recent"])
            self._left_out.counts = dict(progress["left_out"])
            self._left_out.in_a_row = progress["left_out_in_a_row"]
            self._callback_states = progress["callbacks"]
        self._state = None

    # The loop

    def train(self, callbacks: list[keras.callbacks.Callback], eval_every: int, log_every: int) -> None:
        """Run from the current step to the end, or until a callback or a signal stops it.

        Args:
            callbacks: called as `fit` calls them; per-batch hooks once a call of the compiled step, with the
                first and the last step.
            eval_every: steps between evaluations.
            log_every: steps over which the logs are averaged.
        """
        per_epoch = self.order.steps_per_epoch
        listed = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=self.model, epochs=-(-self.total_steps // per_epoch),
            steps=per_epoch, verbose=0, own_loop=True,
        )  # fmt: skip
        self.model.stop_training = False
        self.compiled_step.stopped.assign(False)
        self._stateful = [c for c in listed.callbacks if isinstance(c, StepCallback)]
        schedules = [c for c in listed.callbacks if isinstance(c, ScheduleCallback)]
        own = {c.interval for c in self._stateful if c.interval}
        self._intervals = {eval_every, log_every, per_epoch} | own
        self._boundaries = {step for c in self._stateful for step in c.boundaries}
        if self._state is None:
            self._state = self._workers.scattered(self._carried)
        with self._reading(), Signals(self._stop_soon, self._workers.chief) as signals:
            listed.on_train_begin()
            for callback in self._stateful:
                saved = self._callback_states.get(type(callback).__name__)
                if saved:
                    with understood(self.step):
                        callback.restore(saved)
            logs, epoch = {}, None
            while self.step < self.total_steps and not self._ended(signals):
                if self.step // per_epoch != epoch:
                    epoch = self.step // per_epoch
                    listed.on_epoch_begin(epoch)
                listed.on_train_batch_begin(self.step % per_epoch, {"step": self.step})
                logs = self._call(schedules)
                if self.step % log_every == 0:
                    self.meter = Meter()  # Before a callback saves: the next line begins after this step.
                if self._evaluate and (self.step % eval_every == 0 or self.step == self.total_steps):
                    logs.update(self._validated(listed))
                listed.on_train_batch_end((self.step - 1) % per_epoch, logs)
                if self.step % per_epoch == 0:
                    listed.on_epoch_end(epoch, logs)
            listed.on_train_end(logs)

    def _ended(self, signals: Signals) -> bool:
        """Tell whether a callback or a signal ends the run now, in any of the workers."""
        wanted = [signals.received == number for number in STOPS]
        *received, stopped = self._workers.total(*wanted, self.model.stop_training)
        self.signal = next((number for number, count in zip(STOPS, received) if count), None)
        return bool(self.signal or stopped)

    def _stop_soon(self) -> None:
        """End the call that is being carried out after its next step; several workers all do whole calls."""
        if self._workers.count == 1:
            self.compiled_step.stopped.assign(True)

    def _call(self, schedules: list[ScheduleCallback]) -> dict:
        """Carry out steps up to the next event and return the logs."""
        first, size = self.step, min(self.config.running.steps_per_call, self.total_steps, LONGEST_CALL)
        ends = [n - first % n for n in self._intervals] + [b - first for b in self._boundaries if b > first]
        count = min(size, self.total_steps - first, *ends)
        tables = {name: [rate] * count for name, rate in self._rates.items()}
        tables |= {schedule.name: schedule.table(first, count) for schedule in schedules}
        tables["learning_rate"] = self._scaled_rates(tables["learning_rate"])
        padded = {
            name: tf.constant(values + [0.0] * (size - count), tf.float32) for name, values in tables.items()
        }
        traces, began = self.compiled_step.traces, time.perf_counter()
        results, self._state, self._recent, done = self.compiled_step(
            self._batches,
            self._state,
            self._recent,
            tf.constant(first, tf.int64),
            padded,
            tf.constant(count),
        )
        count = int(done)
        values = {name: value.numpy()[:count] for name, value in results.items()}
        elapsed = time.perf_counter() - began
        self._left_out.add(first, values)
        self._rate_set = float(np.float32(tables["learning_rate"][count - 1]))
        self.meter.add(values, elapsed if self.compiled_step.traces == traces else None)
        self.seconds += elapsed
        self.step += count
        return self._logs({name: values[count - 1] for name, values in tables.items()})

    def _logs(self, rates: dict[str, float]) -> dict:
        meter, sums = self.meter, self.meter.sums
        # Not the null of the files: callbacks such as TerminateOnNaN look at it.
        loss = sums["nats"] / sums["weight"] if sums["weight"] else float("nan")
        if meter.timed_seconds:
            self._speed = meter.timed_tokens / meter.timed_seconds
        speed = self._speed
        tokens_per_step = sums["weight"] / meter.steps
        left = (self.total_steps - self.step) * tokens_per_step / speed if speed else None
        taken = meter.steps - int(meter.left_out) - meter.empty
        return {
            "step": self.step,
            "last": self.step == self.total_steps,
            "loss": loss,
            **self.task.training_measures(sums, self._store.counts),
            **rates,
            **(self._private.spent(self.step) if self._private else {}),
            "gradient_norm": finite(meter.gradient_norm / taken) if taken else None,
            **({"skipped": int(meter.left_out)} if self.compiled_step.guard.may_leave_out else {}),
            **({} if self._untimed else {"data_wait": meter.data_wait / meter.steps}),
            "tokens_per_second": speed and speed * self._tokens_per_target,
            "seconds": self.seconds,
            "seconds_left": left,
        }

    def _validated(self, listed: keras.callbacks.CallbackList) -> dict:
        listed.on_test_begin()
        result = self._evaluate(self.step)
        loss = result.get(MEASURES["loss"].evaluated)
        logs = {**result, "loss": float("nan") if loss is None else loss}
        listed.on_test_end(logs)
        names = ("loss", *SCORES)
        return {f"val_{name}": logs[name] for name in names if logs.get(name) is not None}

    def _scaled_rates(self, table: list[float]) -> list[float]:
        """Apply what a callback did to `optimizer.learning_rate`, as a factor, from now on."""
        current = float(self.model.optimizer.learning_rate.numpy())
        if self._rate_set and current != self._rate_set:
            self._rate_scale *= current / self._rate_set
            self._say(
                f"a callback set the learning rate to {current:.3g} at step {self.step:,}; "
                f"the schedule goes on at {self._rate_scale:.3g} times its values"
            )
        return [rate * self._rate_scale for rate in table]

    # The batches

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Hold the iterator over the batches, and end its reading at once afterwards.

        Its threads call Python. One that still lives while the interpreter ends waits for such a call for
        ever, and a traceback would keep it alive until then.
        """
        self._batches = self._distributed_batches()
        try:
            yield
        except tf.errors.OpError as error:
            traceback.clear_frames(error.__traceback__)  # TensorFlow's own frames hold the iterator.
            raise
        finally:
            self._batches = None

    def _distributed_batches(self) -> Iterator:
        strategy, local = self.strategy, len(self.strategy.extended.worker_devices)

        def batch(rows: Rows, step: tf.Tensor) -> Batch:
            return self.task.batch(rows, self._store, step)

        def make(context: tf.distribute.InputContext) -> Any:
            return training_batches(
                batch, self.order, self.step, self.total_steps, replicas=local,
                first_replica=context.input_pipeline_id * local,
                all_replicas=strategy.num_replicas_in_sync,
            )  # fmt: skip

        batches = iter(strategy.distribute_datasets_from_function(make))
        keep_freed_memory()
        return batches
