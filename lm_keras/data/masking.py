"""Masked language modelling: which tokens of a row are masked, and what the network reads instead.

Shapes: R rows, T time, K positions of a row that are predicted, V vocabulary.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data.packing import Sentences, side_by_side
from lm_keras.draws import Draw
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

MASKED, EXCHANGED = 0.8, 0.1
"""Shares of the chosen tokens that become the mask, or a random token; the others stay, and are predicted all
the same.
"""

AROUND = 2
"""Tokens around the text of a row: the one that begins a document, and the one that ends it."""

NO_DOCUMENT = -1
"""Number of the document of a position beyond the text: no token sees it."""

_CHOICE, _KIND, _TOKEN = 20_000, 20_001, 20_002
"""Numbers of the draws among those of a step; dropout counts from 0, weight-drop from 10,000."""


def masked_positions(length: int, rate: float) -> int:
    """Return K, how many tokens of a row are predicted at most: always as many positions, so that shapes are
    fixed.

    Example:
        >>> masked_positions(128, 0.15)
        19
    """
    return max(1, round(length * rate))


@dataclasses.dataclass(frozen=True, eq=False)
class Masking:
    """Masks tokens of rows. Which ones is a function of (seed, step, global row) alone.

    Attributes:
        rate: share of the tokens of a row that is predicted, one at least.
        seed: the run's seed.
        mask_id: the token that stands for a masked one.
        ordinary: [V] bool, the tokens that may be masked, and may replace another.
        begins_word: [V] bool, tokens with which a word begins, so that whole words are masked; None for
            single tokens.
        sentences: where the sentences of a text end, so that rows have whole ones; None for rows of as many
            tokens.
        begin_id: what a row begins with; within it that is left out, where it is not `end_id`, too.
        end_id: what ends a document, and a row.
        text_length: tokens of text in a row of the run.

    Example: the text [7, 4, 9, 5] with K = 2, 2 and 3 for the beginning and the end, may become

        tokens [2, 7, 4, 1, 5, 3], predicted [3, 1], targets [9, 7], weights [1, 1]

    where 9 was replaced by the mask token 1, and 7 was chosen, too, but left as it is.

    Reference: Devlin et al. (2019), section 3.1; whole words: the note on "Whole Word Masking" in its
    repository; masks that differ each time: Liu et al. (2019), section 4.1.
    """

    rate: float
    seed: int
    mask_id: int
    ordinary: np.ndarray
    begins_word: np.ndarray | None = None
    sentences: Sentences | None = None
    begin_id: int = 0
    end_id: int = 0
    text_length: int = 0

    @classmethod
    def of(cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None) -> "Masking":
        """Return what the settings of a run say.

        Args:
            config: the settings.
            vocab_size: V, where there is no tokenizer.
            tokenizer: with a `mask_id`; without one, for timing steps, single tokens are masked by token 1.
        """
        model, text = config.model, {"text_length": config.batches.sequence_length - AROUND}
        ordinary = np.ones(tokenizer.vocab_size if tokenizer else vocab_size, bool)
        ordinary[list(tokenizer.special_ids) if tokenizer else [0, 1]] = False
        if not ordinary.any():
            raise InputError(
                "the vocabulary has no token that could be masked; train a tokenizer on more text"
            )
        if tokenizer is None:
            return cls(model.mask_rate, config.batches.seed, 1, ordinary, **text)
        begins = word_beginnings(tokenizer) if model.whole_words else None
        sentences = Sentences.of(tokenizer) if model.full_sentences else None
        return cls(
            model.mask_rate, config.batches.seed, tokenizer.mask_id, ordinary, begins, sentences,
            tokenizer.begin_id,
            tokenizer.eod_id, **text,
        )  # fmt: skip

    def begins(self, tokens: np.ndarray, length: int) -> np.ndarray:
        """Return where the rows of a whole text begin, see `Sentences.begins`.

        Args:
            tokens: [n + 1] of a store, of which the first is not text.
            length: tokens of text in a row at most.
        """
        if self.sentences is None:
            return side_by_side(len(tokens) - 1, length)
        return self.sentences.begins(tokens[1:], length)

    def text_of(self, row: np.ndarray) -> np.ndarray:
        """Return the tokens of a row of the store [m] between those around it: without `begin_id`,
        and an end at its end.
        """
        if self.begin_id != self.end_id:
            row = row[row != self.begin_id]
        return row[:-1] if len(row) and row[-1] == self.end_id else row

    def __call__(
        self, tokens: tf.Tensor, there: tf.Tensor, step: tf.Tensor, first_row: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """Mask tokens of some rows.

        Args:
            tokens: [R, T - 2] int32, T known.
            there: [R, T - 2] bool, false beyond the end of the text.
            step: int64 scalar.
            first_row: int64 scalar, number of the first row within the global batch; the others follow.

        Returns:
            `(inputs, targets, weights)`: inputs `tokens` [R, T] int32, `predicted` [R, K] int32, those that
            are predicted, and `document` [R, T] int32, 0 where there is text, else `NO_DOCUMENT`; targets [R,
            K] int32; weights [R, K] float32, 0 where a row has no text, or fewer tokens that may be masked,
            or is not full, so that its share is smaller, and where a word of several tokens found no room.
        """
        tokens, there = self._framed(tokens, there)
        rows, length = tf.shape(tokens)[0], tokens.shape[1]
        count = masked_positions(length, self.rate)
        draw = Draw(self.seed, step, tf.zeros([]), first_row)
        positions, weights = self._chosen(draw, tokens, there, rows, length, count)
        targets = tf.gather(tokens, positions, batch_dims=1)
        kind = _uniform(draw.bits(_KIND, rows, count))
        others = np.flatnonzero(self.ordinary).astype(np.int32)
        other = draw.bits(_TOKEN, rows, count) % tf.constant(len(others), tf.uint32)
        other = tf.gather(tf.constant(others), tf.cast(other, tf.int32))
        shown = tf.where(kind < MASKED, self.mask_id, tf.where(kind < MASKED + EXCHANGED, other, targets))
        shown = tf.where(weights > 0, shown, targets)
        row = tf.broadcast_to(tf.range(rows)[:, None], tf.shape(positions))
        tokens = tf.tensor_scatter_nd_update(tokens, tf.stack([row, positions], -1), shown)
        document = tf.where(there, 0, NO_DOCUMENT)
        return {"tokens": tokens, "predicted": positions, "document": document}, targets, weights

    def _framed(self, tokens: tf.Tensor, there: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens and where there are some, [R, T] both, with those around a text."""
        if self.begin_id != self.end_id:
            there &= tokens != self.begin_id
            order = tf.argsort(tf.cast(~there, tf.int32), axis=1, stable=True)
            tokens = tf.gather(tokens, order, batch_dims=1)
        count = tf.reduce_sum(tf.cast(there, tf.int32), axis=1, keepdims=True)
        last = tf.gather(tokens, tf.maximum(count - 1, 0), batch_dims=1)
        tokens = tf.pad(tokens, [[0, 0], [1, 1]], constant_values=self.begin_id)
        position = tf.range(tokens.shape[1])[None]
        tokens = tf.where(position > count, self.end_id, tokens)
        # A document that ends with the row has its end already.
        end = count + tf.where(last == self.end_id, 1, AROUND)
        return tokens, (position < end) & (count > 0)

    def _chosen(
        self, draw: Draw, tokens: tf.Tensor, there: tf.Tensor, rows: tf.Tensor, length: int, count: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return positions [R, K], each once in a row, and weights [R, K]."""
        may = there & tf.gather(tf.constant(self.ordinary), tokens)
        scores = _uniform(draw.bits(_CHOICE, rows, length))
        if self.begins_word is not None:
            word = tf.cumsum(tf.cast(tf.gather(tf.constant(self.begins_word), tokens), tf.int32), axis=1)
            # One number for each word, which all its tokens have: that of the position whose number is the
            # word's.
            scores = tf.gather(scores, word % length, batch_dims=1)
        ranked, positions = tf.math.top_k(tf.where(may, scores, -1.0), count)
        # Of a row that is not full it is fewer than K.
        length = tf.reduce_sum(tf.cast(there, tf.float32), axis=1, keepdims=True)
        share = tf.cast(tf.maximum(tf.round(length * self.rate), 1.0), tf.int32)
        weights = ranked >= 0
        if self.begins_word is not None:
            # A word of which only a part found a place is left out.
            chosen = tf.gather(word, positions, batch_dims=1)  # [R, K]
            size = tf.reduce_sum(tf.cast((chosen[..., None] == word[:, None]) & may[:, None], tf.int32), -1)
            share = tf.maximum(share, size[:, :1])  # One word at least, if there is room for it.
            weights &= tf.range(count)[None] < share
            found = tf.reduce_sum(
                tf.cast(chosen[..., None] == chosen[:, None], tf.int32) * tf.cast(weights, tf.int32)[:, None],
                -1,
            )
            weights &= size == found
        else:
            weights &= tf.range(count)[None] < share
        return positions, tf.cast(weights, tf.float32)


def _uniform(bits: tf.Tensor) -> tf.Tensor:
    """Return numbers in [0, 1) from the upper 24 of 32 bits, exactly."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def word_beginnings(tokenizer: Tokenizer) -> np.ndarray:
    """Return [V] bool: tokens with which a word begins, and those that say nothing."""
    return np.array([tokenizer.begins_word(token) for token in range(tokenizer.vocab_size)])
