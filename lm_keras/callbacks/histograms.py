"""Histograms of the weights."""

from collections.abc import Callable

import numpy as np

from lm_keras.callbacks.base import DrawingCallback


class Histograms(DrawingCallback):
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

    def draw(self, step: int) -> None:
        self._show(step, {weight.path: weight.numpy() for weight in self.model.trainable_variables})
