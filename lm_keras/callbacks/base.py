"""What the callbacks of this package share: they work in the project's own loop and in plain `fit`.

The own loop passes `own_loop=True` in the callback parameters, and `logs` with `step` and everything that it
measured. In plain `fit` the step is the optimizer's own count and the logs are Keras's.
"""

import keras


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

    def step(self, logs: dict | None = None) -> int:
        """Return how many optimizer steps were done."""
        if logs and "step" in logs:
            return int(logs["step"])
        return int(self.model.optimizer.iterations.numpy())

    def state(self) -> dict:
        """Return what has to be saved so that an interrupted run goes on as if it had not been, as JSON
        values.
        """
        return {}

    def restore(self, state: dict) -> None:
        """Take back what `state` returned."""
