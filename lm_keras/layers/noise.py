"""Noise on the tokens that a network reads while it trains: augmentation of its text.

Shapes: B rows, T time, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.draws import Draw, below
from lm_keras.layers.dropout import RandomLayer

_WHETHER, _WHICH = 2**32 - 2, 2**32 - 1
"""Numbers of this layer's two draws; no network has that many dropout layers, whose numbers begin at 0."""


@keras.saving.register_keras_serializable(package="lm_keras", name="TokenNoise")
class TokenNoise(RandomLayer):
    """Replace tokens by others at a rate that a schedule may change at every step.

    What a network has to predict stays; only what it reads is made less certain, so that it learns to use
    less of its context where it cannot trust it, as a smoothed n-gram model does. Two kinds:

        unigram  the new token is drawn as often as it is in the training text (`weights` are its counts)
        blank    the new token is always the same and says nothing (`weights` are 0 but for its id)

    The rate comes in as in `ScheduledDropout`, and what is replaced belongs to the row of the global batch.
    In a `keras.Sequential` put `keras.Input([None], dtype="int32")` before it: else Keras makes
    floating-point numbers of the tokens, which half precision rounds.

    Args:
        rate: probability that a token is replaced, gamma in the paper. A drawn token may be the old one.
        weights: [V] numbers of at least 0; a token is drawn in proportion to its weight.

    Example:
        >>> noise = TokenNoise(0.5, weights=[0, 0, 1], seed=1)
        >>> noise(np.array([[1, 0, 1, 0, 1, 0, 1]]), training=True).numpy().tolist()
        [[1, 0, 1, 0, 2, 0, 2]]

    Reference: Xie et al. (2017), Data noising as smoothing in neural network language models, section 3.
    """

    def __init__(
        self, rate: float, weights: Sequence[float] | np.ndarray, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(autocast=False, **kwargs)
        weights = np.asarray(weights, np.float64)
        if weights.ndim != 1 or not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
            raise ValueError(f"weights={weights}: expected [V] numbers of at least 0, not all of them 0")
        self.weights_of_tokens = weights
        # Token k is drawn by the numbers from the last end before its own up to its own, of 2^32 numbers.
        self._ends = np.floor(np.cumsum(weights) / weights.sum() * 2**32).astype(np.int64)
        self._add_rate(rate, seed)

    def call(self, tokens: tf.Tensor, training: bool = False, draw: Draw | None = None) -> tf.Tensor:
        """Return `tokens` with some of them replaced; `tokens` themselves outside training.

        Args:
            tokens: [B, T] integers.
            training: whether to replace anything when no `draw` is given.
            draw: where rate and random numbers come from in the project's own loop.
        """
        if draw is not None:
            rows, size = tf.shape(tokens)[0], tokens.shape[1]
            stays = draw.keep(_WHETHER, rows, size)
            return tf.where(stays, tokens, self._tokens(draw.bits(_WHICH, rows, size), tokens.dtype))
        if training:
            seed = self.seed_generator.next()
            shape = tf.concat([[2], tf.shape(tokens)], 0)
            whether, which = tf.unstack(tf.random.stateless_uniform(shape, seed, None, None, tf.uint32))
            stays = whether >= below(tf.convert_to_tensor(self.rate))
            return tf.where(stays, tokens, self._tokens(which, tokens.dtype))
        return tokens

    def _tokens(self, bits: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Turn uniform 32-bit numbers [B, T] into tokens [B, T] that follow the weights."""
        flat = tf.cast(tf.reshape(bits, [-1]), tf.int64)
        drawn = tf.searchsorted(tf.constant(self._ends), flat, side="right")
        return tf.cast(tf.reshape(drawn, tf.shape(bits)), dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"rate": self.initial_rate, "weights": self.weights_of_tokens.tolist(), "seed": self.seed}
        return {**super().get_config(), **own}
