"""The timing steps of a dry run: how long the real step takes."""

import dataclasses
import time

from lm_keras.callbacks import LearningRateSchedule
from lm_keras.callbacks.base import StepCallback
from lm_keras.training.trainer import Trainer

TIMING_SECONDS = 3.0
"""Measured after compiling; a step that takes longer is carried out twice all the same."""

STEPS = 10**6
"""Length of the run that the trainer of the timing steps believes in; far more than it gets to."""

NEVER = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Speed:
    """What the timing steps measured.

    Attributes:
        steps: how many were timed, after compiling.
        seconds: what they took.
        compile_seconds: what the first call took, with the tracing and compiling in it.
    """

    steps: int
    seconds: float
    compile_seconds: float

    @property
    def seconds_per_step(self) -> float:
        """Return the mean."""
        return self.seconds / self.steps


class _TimingClock(StepCallback):
    """Notes how long each call of the compiled step takes; stops after some time and some calls."""

    def __init__(self, first_step: int, seconds: float, calls: int):
        super().__init__()
        self.steps: list[int] = []
        self.seconds: list[float] = []
        self._step, self._enough, self._least = first_step, seconds, calls

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._began)
        self.steps.append(self.step(logs) - self._step)
        self._step = self.step(logs)
        if sum(self.seconds) >= self._enough and len(self.seconds) >= self._least:
            self.model.stop_training = True


def try_out(trainer: Trainer) -> Speed | None:
    """Carry out some steps of a run at a learning rate of 0, so that no loss can run away.

    Single steps first; then calls of as many steps as the run will make, unless one step alone takes
    long. The first call of either is not timed: it compiles, or waits for the pipeline to start.

    Args:
        trainer: of `STEPS` steps. Its weights stay as they are, its optimizer's slots do not.

    Returns:
        What was measured, or None if a signal asked to stop.
    """
    rate = LearningRateSchedule(0.0, lambda step: 1.0)
    running = trainer.config.running

    def run(log_every: int, seconds: float) -> _TimingClock:
        clock = _TimingClock(trainer.step, seconds, calls=3)
        trainer.train([rate, clock], NEVER, log_every)
        return clock

    single = run(1, 0.0)
    if trainer.signal:
        return None
    long = single.seconds[-1] * min(running.steps_per_call, running.log_every) > TIMING_SECONDS / 3
    timed = run(1 if long else running.log_every, TIMING_SECONDS)
    if trainer.signal:
        return None
    return Speed(sum(timed.steps[1:]), sum(timed.seconds[1:]), single.seconds[0])
