"""Masked language modelling: which tokens of a row are hidden, and what stands in their place.

Shapes: R rows, T time, K places of a row that are predicted, V vocabulary.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.layers.draws import Draw
from lm_keras.text.tokenizer import Tokenizer

HIDDEN, EXCHANGED = 0.8, 0.1
"""Shares of the chosen tokens that become the mask, or a random token; the others stay, and are predicted all the same."""

NO_DOCUMENT = -1
"""Number of the document of a place beyond the text: no token sees it."""

_CHOICE, _KIND, _TOKEN = 20_000, 20_001, 20_002
"""Numbers of the draws among those of a step; dropout counts from 0, weight-drop from 10,000."""


def masked_places(length: int, rate: float) -> int:
    """Return K, how many tokens of a row are predicted: always as many, so that shapes are fixed.

    Example:
        >>> masked_places(128, 0.15)
        19
    """
    return max(1, round(length * rate))


@dataclasses.dataclass(frozen=True, eq=False)
class Masking:
    """Hides tokens of rows. What is hidden is a function of (seed, step, global row) alone.

    Attributes:
        rate: share of the tokens that is predicted.
        seed: the run's seed.
        mask_id: the token that stands for a hidden one.
        ordinary: [V] bool, the tokens that may be hidden, and may stand in place of another.
        begins_word: [V] bool, tokens with which a word begins, so that whole words are hidden; None for single tokens.

    Example: the row [7, 4, 9, 5] with K = 2 may become

        tokens [7, 4, 1, 5], places [2, 0], targets [9, 7], weights [1, 1]

    where 9 was hidden by the mask 1, and 7 was chosen, too, but left as it is.

    Reference: Devlin et al. (2019), section 3.1; whole words: the note on "Whole Word Masking" in its repository; masks
    that differ each time: Liu et al. (2019), section 4.1.
    """

    rate: float
    seed: int
    mask_id: int
    ordinary: np.ndarray
    begins_word: np.ndarray | None = None

    @classmethod
    def of(cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None) -> "Masking":
        """Return what the settings of a run say.

        Args:
            config: the settings.
            vocab_size: V, where there is no tokenizer.
            tokenizer: with a `blank_id`; without one, for a trial, single tokens are hidden by token 1.
        """
        model = config.model
        if tokenizer is None:
            return cls(model.mask_rate, config.batches.seed, 1, np.arange(vocab_size) != 1)
        ordinary = np.ones(tokenizer.vocab_size, bool)
        ordinary[list(tokenizer.special_ids)] = False
        if not ordinary.any():
            raise InputError(
                "the vocabulary has no token that could be hidden; train a tokenizer on more text"
            )
        begins = word_beginnings(tokenizer) if model.whole_words else None
        return cls(model.mask_rate, config.batches.seed, tokenizer.blank_id, ordinary, begins)

    def __call__(self, tokens: tf.Tensor, there: tf.Tensor, step: tf.Tensor, first_row: tf.Tensor):
        """Hide tokens of some rows.

        Args:
            tokens: [R, T] int32, T known.
            there: [R, T] bool, false beyond the end of the text.
            step: int64 scalar.
            first_row: int64 scalar, number of the first row within the global batch; the others follow.

        Returns:
            `(inputs, targets, weights)`: inputs `tokens` [R, T] int32, `places` [R, K] int32, those that are predicted, and
            `document` [R, T] int32, 0 where there is text, else `NO_DOCUMENT`; targets [R, K] int32; weights [R, K] float32,
            0 where a row has fewer tokens that may be hidden.
        """
        rows, length = tf.shape(tokens)[0], tokens.shape[1]
        count = masked_places(length, self.rate)
        draw = Draw(self.seed, step, tf.zeros([]), first_row)
        may = there & tf.gather(tf.constant(self.ordinary), tokens)
        places, weights = self._chosen(draw, tokens, may, rows, length, count)
        targets = tf.gather(tokens, places, batch_dims=1)
        kind = _uniform(draw.bits(_KIND, rows, count))
        others = np.flatnonzero(self.ordinary).astype(np.int32)
        other = draw.bits(_TOKEN, rows, count) % tf.constant(len(others), tf.uint32)
        other = tf.gather(tf.constant(others), tf.cast(other, tf.int32))
        shown = tf.where(kind < HIDDEN, self.mask_id, tf.where(kind < HIDDEN + EXCHANGED, other, targets))
        shown = tf.where(weights > 0, shown, targets)
        row = tf.broadcast_to(tf.range(rows)[:, None], tf.shape(places))
        tokens = tf.tensor_scatter_nd_update(tokens, tf.stack([row, places], -1), shown)
        document = tf.where(there, 0, NO_DOCUMENT)
        return {"tokens": tokens, "places": places, "document": document}, targets, weights

    def _chosen(self, draw, tokens, may, rows, length, count):
        """Return places [R, K], each once in a row, and weights [R, K]."""
        scores = _uniform(draw.bits(_CHOICE, rows, length))
        if self.begins_word is not None:
            word = tf.cumsum(tf.cast(tf.gather(tf.constant(self.begins_word), tokens), tf.int32), axis=1)
            # One number for each word, which all its tokens have: that of the place whose number is the word's.
            scores = tf.gather(scores, word % length, batch_dims=1)
        ranked, places = tf.math.top_k(tf.where(may, scores, -1.0), count)
        weights = ranked >= 0
        if self.begins_word is not None:
            # A word of which only a part found a place is left out.
            chosen = tf.gather(word, places, batch_dims=1)  # [R, K]
            size = tf.reduce_sum(tf.cast((chosen[..., None] == word[:, None]) & may[:, None], tf.int32), -1)
            found = tf.reduce_sum(
                tf.cast(chosen[..., None] == chosen[:, None], tf.int32) * tf.cast(weights, tf.int32)[:, None],
                -1,
            )
            weights &= size == found
        return places, tf.cast(weights, tf.float32)


def _uniform(bits):
    """Return numbers in [0, 1) from the upper 24 of 32 bits, exactly."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def word_beginnings(tokenizer: Tokenizer) -> np.ndarray:
    """Return [V] bool: tokens with which a word begins, and those that say nothing."""
    return np.array([tokenizer.begins_word(token) for token in range(tokenizer.vocab_size)])
