"""Which steps are left out because their numbers have gone wrong, decided before they touch the weights."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError

LEFT_OUT = ("overflowed", "nonfinite", "spiked")
"""Why a step is left out: its float16 gradients overflow and the loss scale is lowered; its loss or gradient
is not finite; its loss or gradient norm lies far beyond those before.
"""

MOST_IN_A_ROW = 100
"""Steps that may be left out one after the other before the run ends: it would learn nothing any more."""


class Guard:
    """Judges each step by its loss and the norm of its gradient, both of the whole batch.

    A spike is a value above mean + sigma x standard deviation of the last `window` steps, the deviation being
    taken for at least a thousandth of the mean. It is remembered as if
    it had been at that bound: so one spike does not hide the next, and a lasting change of level is accepted
    in time. Nothing is called a spike before the window is full. (Chowdhery et al., 2022, section 5.1, leave
    out the data around a spike by hand.)

    Args:
        on_nonfinite: `stop` or `skip`.
        sigma: 0 for no spike guard.
        window: steps.
        scaled: whether the loss is scaled, so that float16 gradients may overflow while the scale is above 1.

    Attributes:
        stops: whether a step that is not finite ends the run.
        may_leave_out: whether a run may go on without some of its steps.
    """

    def __init__(self, on_nonfinite: str, sigma: float, window: int, scaled: bool):
        self.stops = on_nonfinite == "stop"
        self.may_leave_out = scaled or not self.stops or sigma > 0
        self._sigma, self._window, self._scaled = sigma, window, scaled

    def recent(self, saved: Sequence[list[float]] = ()) -> dict[str, tf.Tensor]:
        """Return what is known of the steps before, from what `saved` returned."""
        kept = saved[-self._window :] if self._sigma else []
        size = self._window if self._sigma else 0
        rows = [[0.0, 0.0]] * (size - len(kept)) + [list(pair) for pair in kept]
        values = tf.reshape(tf.constant(rows, tf.float32), [size, 2])
        return {"values": values, "count": tf.constant(len(kept))}

    def saved(self, recent: dict[str, tf.Tensor]) -> list[list[float]]:
        """Return `recent` as JSON values: [loss, gradient norm] of each step, the newest last."""
        values, count = recent["values"].numpy(), int(recent["count"])
        return values[len(values) - count :].tolist()

    def explain(self, reason: str) -> str:
        """Return why a step was left out, in words."""
        if reason == "spiked":
            return (
                f"its loss or gradient norm lies more than {self._sigma:g} standard deviations above the last"
                " steps"
            )
        return "its loss or gradient is not finite"

    def __call__(
        self,
        loss: tf.Tensor,
        norm: tf.Tensor,
        scale: tf.Tensor,
        recent: dict[str, tf.Tensor],
        empty: tf.Tensor,
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Return which of `LEFT_OUT` holds for a step, as bool scalars by name, and `recent` with the step.

        Args:
            loss: mean nats a target, a scalar.
            norm: of the gradient before clipping, a scalar.
            scale: by what the loss was multiplied, a scalar.
            recent: as `recent` returned it.
            empty: whether the step has no target, a bool scalar; then it says nothing about the steps to
                come.
        """
        finite_loss, finite_norm = tf.math.is_finite(loss), tf.math.is_finite(norm)
        overflowed = tf.constant(self._scaled) & finite_loss & ~finite_norm & (scale > 1.0)
        finite = finite_loss & finite_norm
        left_out = {
            "overflowed": overflowed,
            "nonfinite": ~finite & ~overflowed,
            "spiked": tf.constant(False),
        }
        if not self._sigma:
            return left_out, recent
        values, count = recent["values"], recent["count"]
        mean, variance = tf.nn.moments(values, axes=[0])
        # Else any rise is a spike where all was equal.
        spread = tf.maximum(tf.sqrt(variance), 1e-3 * tf.abs(mean))
        bound = tf.where(count == self._window, mean + self._sigma * spread, tf.float32.max)
        now = tf.stack([loss, norm])
        left_out["spiked"] = finite & ~empty & tf.reduce_any(now > bound)
        entered = tf.concat([values[1:], tf.minimum(now, bound)[None]], axis=0)
        counts = finite & ~empty
        return left_out, {
            "values": tf.where(counts, entered, values),
            "count": tf.where(counts, tf.minimum(count + 1, self._window), count),
        }


def reasons_of(values: dict[str, np.ndarray]) -> np.ndarray:
    """Return for which of `LEFT_OUT` each step was left out, [steps, reasons] bool.

    Args:
        values: what the steps reported, [steps] by name.
    """
    return np.stack([values[name] for name in LEFT_OUT], axis=1) > 0


def empty_steps(values: dict[str, np.ndarray]) -> np.ndarray:
    """Return which steps had no target, [steps] bool; such steps change nothing."""
    return (values["weight"] == 0) & ~reasons_of(values).any(axis=1)


class LeftOut:
    """Counts the steps that were left out, says so, and ends a run that must not go on.

    Args:
        guard: left them out.
        say: called with a line that a person should read.

    Attributes:
        counts: such steps, by their reason.
        in_a_row: those since the last step that was taken.
    """

    def __init__(self, guard: Guard, say: Callable[[str], None]):
        self._guard, self._say = guard, say
        self.counts, self.in_a_row = dict.fromkeys(LEFT_OUT, 0), 0

    def add(self, first: int, values: dict[str, np.ndarray]) -> None:
        """Count those of some steps.

        Args:
            first: steps that were done before.
            values: what the steps reported, [steps] by name.

        Raises:
            InputError: the run must not go on.
        """
        given = enumerate(zip(reasons_of(values), empty_steps(values)), first + 1)
        for step, (reasons, empty) in given:
            if empty:  # Which says nothing about the steps around it.
                continue
            self.in_a_row = self.in_a_row + 1 if reasons.any() else 0
            if not reasons.any():
                continue
            why = LEFT_OUT[int(np.argmax(reasons))]
            self.counts[why] += 1
            if why == "nonfinite" and self._guard.stops:
                raise InputError(
                    f"the loss or its gradient is not finite at step {step:,}, which was left out; the"
                    " checkpoints before are kept. If it is a single step, go on with --on_nonfinite=skip;"
                    " else begin a new run in another --run_dir with a lower --learning_rate or a"
                    " --clip_norm"
                )
            if self.in_a_row == MOST_IN_A_ROW:
                raise InputError(
                    f"the last {MOST_IN_A_ROW} steps up to step {step:,} were all left out, so nothing is"
                    " learnt any more; the checkpoints before are kept; begin a new run in another --run_dir"
                    " with a lower --learning_rate"
                )
            if why != "overflowed" and self.in_a_row in (1, 10):
                many = f"; it is the {self.in_a_row}th in a row" if self.in_a_row > 1 else ""
                self._say(f"step {step:,} was left out: {self._guard.explain(why)}{many}")
