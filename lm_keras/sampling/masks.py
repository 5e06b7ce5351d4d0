"""Texts with `[MASK]`s: where these are, and what a network that sees both sides says of tokens there.

B rows of a batch, K positions of a row, V tokens of the vocabulary.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

MASK = "[MASK]"
"""The mark of a masked token, or of a masked span, in a text."""


class Filled(NamedTuple):
    """A text whose masks were filled.

    Attributes:
        text: with the likeliest token for each mask.
        words: for each mask the likeliest tokens, `(text, probability)` each, the best first.
    """

    text: str
    words: tuple[tuple[tuple[str, float], ...], ...]


def parts_of(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return the text around the `[MASK]`s of a text.

    Where a token is a word with the space before it, a space before a `[MASK]` is a part of what is filled
    in, as in training.
    """
    *before, last = text.split(MASK)
    if tokenizer.joins_spaces:
        before = [part.removesuffix(" ") for part in before]
    return [*before, last]


class Reader:
    """Logits at positions of texts, each between the tokens that a text begins and ends with.

    Attributes:
        most: tokens of a text at most.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._begin_id, self._eod_id = model, tokenizer.begin_id, tokenizer.eod_id
        self.most = model.context_length - 2
        table = tf.TensorSpec([None, None], tf.int32)
        self._logits = tf.function(self._at, input_signature=[table, table], autograph=False)

    def logits(self, rows: list[list[int]], positions: list[list[int]]) -> np.ndarray:
        """Return logits float32 [B, K, V] of rows of equal length at K positions of each."""
        if len(rows[0]) > self.most:
            raise InputError(
                f"the text has {len(rows[0]):,} tokens, and the model sees {self.most:,} at a time with "
                "those around it; shorten it"
            )
        tokens = np.array([[self._begin_id, *row, self._eod_id] for row in rows], np.int32)
        logits = self._logits(tf.constant(tokens), tf.constant(positions, tf.int32) + 1).numpy()
        if not np.isfinite(logits).all():
            raise InputError(
                "the model's logits are not finite; its training has diverged, use an earlier checkpoint or "
                "train with a lower "
                "learning rate"
            )
        return logits

    def _at(self, tokens: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        features, _ = self._model.forward({"tokens": tokens, "predicted": positions}, {})
        return self._model.project(features)
