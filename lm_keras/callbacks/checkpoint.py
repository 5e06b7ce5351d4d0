"""Checkpoints while a model trains: the last ones and the best one."""

import time
from collections.abc import Callable
from typing import Any

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.callbacks.watched import BY_LOSS
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.objectives.measures import cost_of, finite


class Checkpoint(StepCallback):
    """Save every `every` steps, whenever a measure of validation is the best so far, and at the end.

    It is the last one in the list of callbacks, so that it sees what all others did at a step. In plain
    `fit` it saves the model and its optimizer at the end of each epoch. There a fit that begins before
    checkpoints that exist, with another model for instance, takes their place once it has saved one of its
    own.

    Args:
        checkpoints: where to; None in a worker that takes part and writes nothing.
        every: steps between checkpoints.
        tensors: returns what to save, by name; None for the model and its optimizer.
        progress: returns what else to save, as JSON values.
        by: the measure by which checkpoints are compared, and whether `low` or `high` is better.

    Attributes:
        best_cost: value of the best validation so far, or the negative value where high is better.
        seconds: what saving took, over all launches of a run.

    Example:
        >>> checkpoints = Checkpoints("checkpoints")
        >>> model.fit(x, y, callbacks=[Checkpoint(checkpoints, every=1)])
        >>> model.optimizer.build(model.trainable_variables)  # Of a model that was compiled, not trained.
        >>> tensors = {"model": model.variables, "optimizer": model.optimizer.variables}
        >>> checkpoints.restore(checkpoints.newest(), tensors)
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        every: int,
        tensors: Callable[[], dict[str, Any]] | None = None,
        progress: Callable[[], dict[str, Any]] = dict,
        by: tuple[str, str] = BY_LOSS,
    ):
        super().__init__()
        self._measure, self._better = by
        self._checkpoints, self.interval, self._tensors, self._progress = (
            checkpoints,
            every,
            tensors,
            progress,
        )
        self.seconds = 0.0
        self.best_cost: float | None = None
        self._validated: float | None = None
        self._improved = False
        self._last_step = 0
        self._of_before: set[int] = set()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._validated, self._improved, self._last_step = None, False, 0
        if not self.own_loop and self._checkpoints:
            self.best_cost, first = None, self.step()
            self._of_before = {step for step in self._checkpoints.steps() if step > first}

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._validated = finite((logs or {}).get(self._measure))
        cost = None if self._validated is None else cost_of(self._validated, self._better)
        if cost is not None and (self.best_cost is None or cost < self.best_cost):
            self.best_cost, self._improved = cost, True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._last_step = self.step(logs)
        if self.own_loop and (self._improved or self._last_step % self.interval == 0):
            self.save(self._last_step)
        elif self.own_loop:
            self._validated = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.own_loop:
            self.save(self.step())

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._last_step:
            self.save(self._last_step)

    def save(self, step: int) -> None:
        """Save now, unless this step has been saved."""
        began = time.perf_counter()
        tensors = (
            self._tensors()
            if self._tensors
            else {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        )
        if self._checkpoints:
            progress = self._progress()
            if self._validated is not None:
                judged = {"measure": self._measure, "better": self._better, "value": self._validated}
                progress = {**progress, "validated": judged}
            self._checkpoints.save(step, tensors, progress, self._of_before)
            self._of_before = set()
        self._validated, self._improved = None, False
        self.seconds += time.perf_counter() - began

    def state(self) -> dict[str, Any]:
        return {"best_cost": self.best_cost, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        name = "best_cost" if "best_cost" in state else "best_loss"  # As older checkpoints call it.
        self.best_cost, self.seconds = state[name], state["seconds"]
