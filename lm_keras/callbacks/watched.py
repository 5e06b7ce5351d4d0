"""What callbacks share that wait for validation to improve."""

from typing import Any

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.objectives.measures import cost_of

BY_LOSS = ("loss", "low")
"""The measure by which models are compared where nobody says another one, and which way it is better."""


class Watched(StepCallback):
    """Counts evaluations in a row that did not improve a measure.

    Args:
        by: the measure and whether `low` or `high` is better.
        min_delta: what counts as an improvement.

    Attributes:
        best: the lowest cost so far.
        waited: evaluations since.
    """

    def __init__(self, by: tuple[str, str] = BY_LOSS, min_delta: float = 0.0):
        super().__init__()
        self._measure, self._better = by
        self._min_delta = min_delta
        self.best, self.waited = float("inf"), 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.waited = float("inf"), 0  # The own loop restores them after this.

    def on_test_end(self, logs: Logs | None = None) -> None:
        if self._measure not in (logs or {}):
            return
        value = logs[self._measure]
        cost = float("nan") if value is None else cost_of(value, self._better)
        if cost < self.best - self._min_delta:
            self.best, self.waited = float(cost), 0
            return
        self.waited += 1
        self.wait()

    def wait(self) -> None:
        """Do what has to be done after an evaluation without an improvement."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {"best": self.best if self.best != float("inf") else None, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        self.best = float("inf") if state["best"] is None else state["best"]
        self.waited = state["waited"]
