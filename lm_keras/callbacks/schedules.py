"""Schedules as callbacks: the learning rate, and the rates of dropout and of noise."""

import keras

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.callbacks.watched import BY_LOSS, Watched
from lm_keras.errors import InputError
from lm_keras.layers import ScheduledDropout, TokenNoise
from lm_keras.schedules import Plateau, Schedule


class ScheduleCallback(StepCallback):
    """A value that is a function of the step.

    The own loop asks for the values of the coming steps (`table`) and hands them to the compiled step, so
    that they are exact for every step of a call. In plain `fit` the value is set before each batch.

    Attributes:
        name: what the values are called in the logs: `learning_rate`, `dropout` or `token_noise`.
    """

    name: str

    def __init__(self, base: float, schedule: Schedule):
        super().__init__()
        self.base, self.schedule = base, schedule

    def table(self, first_step: int, count: int) -> list[float]:
        """Return the values of steps first_step ... first_step + count - 1."""
        return [self.base * self.schedule(step) for step in range(first_step, first_step + count)]

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        if not self.own_loop:
            self.assign(self.table(self.step(), 1)[0])

    def assign(self, value: float) -> None:
        """Set the value in plain `fit`."""
        raise NotImplementedError


def check_rate_can_be_set(optimizer: keras.optimizers.Optimizer, asked_by: str) -> None:
    """Raise InputError if the optimizer has a schedule of its own."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # Of loss scaling.
    if isinstance(getattr(inner, "_learning_rate", None), keras.optimizers.schedules.LearningRateSchedule):
        raise InputError(
            f"{asked_by} sets the learning rate, and the optimizer has a schedule of its own; compile the"
            " model with a number as learning_rate"
        )


class LearningRateSchedule(ScheduleCallback):
    """Decay the learning rate.

    Args:
        base: learning rate where the schedule's factor is 1.
        schedule: from `lm_keras.schedules`.

    Example:
        >>> from lm_keras import schedules
        >>> callback = LearningRateSchedule(1e-3, schedules.build("cosine:final=0.1", 2000, warmup_steps=100))
        >>> model.fit(x, y, callbacks=[callback])
    """

    name = "learning_rate"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.own_loop:
            check_rate_can_be_set(self.model.optimizer, type(self).__name__)

    def assign(self, value: float) -> None:
        self.model.optimizer.learning_rate = value


class RateSchedule(ScheduleCallback):
    """Change the rate of every layer of one kind while the model trains.

    Args:
        base: rate where the schedule's factor is 1.
        schedule: from `lm_keras.schedules`; base times factor must stay below 1.

    Attributes:
        kind: the layers that are changed in plain `fit`.
        missing: what is said there when the model has none.
    """

    kind: type
    missing: str

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._layers = [layer for layer in model._flatten_layers() if isinstance(layer, self.kind)]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.own_loop and not self._layers:
            raise InputError(self.missing)

    def table(self, first_step: int, count: int) -> list[float]:
        values = super().table(first_step, count)
        if max(values, default=0) >= 1 or min(values, default=0) < 0:
            raise InputError(
                f"the {self.name} schedule reaches {max(values):g} at step {first_step} or soon after; "
                f"--{self.name} times its factor must stay between 0 and 1"
            )
        return values

    def assign(self, value: float) -> None:
        for layer in self._layers:
            layer.rate.assign(value)


class DropoutSchedule(RateSchedule):
    """Change the rate of every `ScheduledDropout` layer of the model while it trains.

    Raises:
        InputError: in plain `fit`, when the model has no such layer. `keras.layers.Dropout` compiles its rate
            in.
    """

    name, kind = "dropout", ScheduledDropout
    missing = (
        "a dropout schedule needs lm_keras.layers.ScheduledDropout layers, and the model has none; "
        "keras.layers.Dropout keeps the rate with which it was compiled"
    )


class TokenNoiseSchedule(RateSchedule):
    """Change the rate of token noise while the model trains.

    Raises:
        InputError: in plain `fit`, when the model has no `TokenNoise` layer. The own loop has one of its own.
    """

    name, kind = "token_noise", TokenNoise
    missing = (
        "a noise schedule needs a lm_keras.layers.TokenNoise layer, and the model has none; "
        "put one before the embedding"
    )


class PlateauDecay(Watched):
    """Multiply the learning rate by a factor when a measure of validation stops improving.

    It sets `optimizer.learning_rate`; the own loop takes that as a factor on its table from then on.

    Args:
        settings: factor, patience and so on.
        base: base learning rate, for the floor.
        by: the measure and whether `low` or `high` is better.
    """

    def __init__(self, settings: Plateau, base: float, by: tuple[str, str] = BY_LOSS):
        super().__init__(by, settings.min_delta)
        self.settings, self.base = settings, base

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.own_loop:
            check_rate_can_be_set(self.model.optimizer, type(self).__name__)
        super().on_train_begin(logs)

    def wait(self) -> None:
        if self.waited > self.settings.patience:
            self.waited = 0
            optimizer = self.model.optimizer
            lowered = float(optimizer.learning_rate.numpy()) * self.settings.factor
            floor = self.base * self.settings.floor
            # Early in a warm-up the rate may be below the floor; it never rises here.
            optimizer.learning_rate = max(lowered, min(floor, float(optimizer.learning_rate.numpy())))
