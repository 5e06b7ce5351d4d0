"""Histograms of the weights."""

from collections.abc import Callable

import numpy as np

from lm_keras.callbacks.base import Logs, StepCallback


class Histograms(StepCallback):
    """Hand out all trainable weights every so often.

    Gradients are left out: they are summed and applied within the compiled step, and to return them would
    cost their memory once more on every run. What they do to the weights is seen here, and their norm in
    the curve `gradient_norm`.

    Args:
        every: steps between histograms; in plain `fit` they are drawn at the end of each epoch.
        show: called with the step and a dict path of the variable -> its values.
    """

    def __init__(self, every: int, show: Callable[[int, dict[str, np.ndarray]], None]):
        super().__init__()
        self.interval, self._show = every, show

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        step = self.step(logs)
        if self.own_loop and step % self.interval == 0:
            self._draw(step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.own_loop:
            self._draw(self.step())

    def _draw(self, step: int) -> None:
        self._show(step, {weight.path: weight.numpy() for weight in self.model.trainable_variables})
