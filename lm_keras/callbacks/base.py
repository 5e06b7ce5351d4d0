"""What the callbacks of this package share: they work in the project's own loop and in plain `fit`.

The own loop passes `own_loop=True` in the callback parameters, and `logs` with `step` and everything that it
measured. In plain `fit` the step is the optimizer's own count and the logs are Keras's.
"""

from typing import Any

import keras

Logs = dict[str, Any]
"""What Keras hands to a callback: names and what was measured, `step` among them in the own loop."""


class StepCallback(keras.callbacks.Callback):
    """A callback that knows the global step and may have a state to save."""

    interval: int | None = None
    """Steps between the steps at which this callback does something; the own loop ends a call there."""

    boundaries: tuple[int, ...] = ()
    """Single steps after which the own loop ends a call too."""

    @property
    def own_loop(self) -> bool:
        """Tell whether the project's own loop is running this callback, and not `fit`."""
        return bool((self.params or {}).get("own_loop"))

    def step(self, logs: Logs | None = None) -> int:
        """Return how many optimizer steps were done."""
        if logs and "step" in logs:
            return int(logs["step"])
        return int(self.model.optimizer.iterations.numpy())

    def state(self) -> dict[str, Any]:
        """Return what has to be saved so that an interrupted run goes on as if it had not been, as JSON
        values.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""


class DrawingCallback(StepCallback):
    """A callback that shows something after every `interval` steps; in plain `fit`, after each epoch."""

    def draw(self, step: int) -> None:
        """Show it, after a step."""
        raise NotImplementedError

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        step = self.step(logs)
        if self.own_loop and step % self.interval == 0:
            self.draw(step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.own_loop:
            self.draw(self.step())
