"""Dropout whose rate may change while the step is compiled, and whose mask belongs to the row.

Shapes: B rows, T time, D width.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from lm_keras.draws import Draw

PARTS = 2**16
"""Masks of one layer's parts are this far apart: more than a network has layers."""


class Mask(NamedTuple):
    """Dropout of a step, in the rows that are at hand.

    Attributes:
        keep: `keep(shape, part=0)` says which values stay, bool of that shape; its first axis is the rows,
            and all others are known. It says the same whenever it is called; parts of one layer have masks of
            their own.
        rate: share that is dropped.
    """

    keep: Callable[..., tf.Tensor]
    rate: tf.Tensor

    def apply(self, x: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
        """Return x with some values dropped, and the others scaled by 1 / (1 - rate)."""
        factor = tf.cast(1.0 / (1.0 - self.rate), x.dtype)
        return tf.where(keep, x * factor, tf.zeros([], x.dtype))


class RandomLayer(keras.layers.Layer):
    """A layer that changes values at random while a network trains, at a rate that a schedule may change."""

    def _add_rate(self, rate: float, seed: int | None) -> None:
        """Add the rate as a variable, and the random numbers of plain `fit`."""
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate}: expected a number of at least 0 and below 1")
        self.initial_rate, self.seed = rate, seed
        self.rate = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(rate),
            trainable=False,
            dtype="float32",
            autocast=False,
            name="rate",
        )
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True


@keras.saving.register_keras_serializable(package="lm_keras", name="ScheduledDropout")
class ScheduledDropout(RandomLayer):
    """Drop values at a rate that a schedule may change at every step.

    `keras.layers.Dropout` compiles its rate in as a constant, so that a callback which assigns it changes
    nothing. Here the rate is a variable (in plain `fit`) or comes in with the `Draw` (in the project's own
    loop). Each call draws a fresh mask for every time step, as Zaremba et al. (2014) need.

    Args:
        rate: share of values set to zero; the rest is scaled by 1 / (1 - rate).
        index: number of this layer within its network, so that no two layers share masks.
        batch_axis: axis of the rows, 0 for [B, T, D] and 1 for time-major [T, B, D].

    Reference: Srivastava et al. (2014), section 4.
    """

    def __init__(
        self, rate: float, index: int = 0, batch_axis: int = 0, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(autocast=False, **kwargs)
        if index < 0:
            raise ValueError(f"index={index}: expected 0 or more")
        self.index = index
        self.batch_axis = batch_axis
        self._add_rate(rate, seed)

    def call(self, x: tf.Tensor, training: bool = False, draw: Draw | None = None) -> tf.Tensor:
        """Return `x` with some values dropped; `x` itself outside training.

        Args:
            x: [B, T, D] or [T, B, D], see `batch_axis`.
            training: whether to drop anything when no `draw` is given.
            draw: where rate and masks come from in the project's own loop.
        """
        mask = self.mask(training, draw)
        if mask is None:
            return x
        shape = [tf.shape(x)[axis] if size is None else size for axis, size in enumerate(x.shape)]
        if self.batch_axis == 1:
            keep = tf.transpose(mask.keep([shape[1], shape[0], shape[2]]), [1, 0, 2])
        else:
            keep = mask.keep(shape)
        return mask.apply(x, keep)

    def mask(self, training: bool = False, draw: Draw | None = None) -> Mask | None:
        """Return what a call drops, for values that are not at hand or exist in parts; None
        outside training.
        """
        if draw is not None:

            def drawn(shape: Sequence[int | tf.Tensor], part: int | tf.Tensor = 0) -> tf.Tensor:
                rows, *rest = shape
                return tf.reshape(draw.keep(self.index + PARTS * part, rows, math.prod(rest)), [-1, *rest])

            return Mask(drawn, draw.rate)
        if not training:
            return None
        rate, seed = tf.convert_to_tensor(self.rate), self.seed_generator.next()

        def random(shape: Sequence[int | tf.Tensor], part: int | tf.Tensor = 0) -> tf.Tensor:
            seeds = tf.cast(seed, tf.int32) + [0, part]
            return tf.random.stateless_uniform(shape, seeds) >= rate

        return Mask(random, rate)

    def get_config(self) -> dict[str, Any]:
        own = {
            "rate": self.initial_rate,
            "index": self.index,
            "batch_axis": self.batch_axis,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}
