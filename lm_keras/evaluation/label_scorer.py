"""What a network that predicts labels says of given tokens.

B rows of a batch, T positions of a row, C labels, D width.
"""

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import Scorer, check_ids
from lm_keras.models.pooling import alone
from lm_keras.text.tokenizer import Tokenizer


class LabelScorer(Scorer):
    """Returns logits of labels and features; a text has no likelihood here.

    Args:
        model: a network with classes.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._tokenizer = model, tokenizer

    def score(self, texts: list[str]) -> list[dict]:
        """Refuse."""
        raise InputError("a model that predicts labels gives a text no likelihood; use classify or tag")

    def logits(self, ids) -> np.ndarray:
        """Return the logits float32 of `ids` [B, T], a text each: [B, C] of texts, or [B, T, C] of tokens."""
        return self._model(self._checked(ids)).numpy()

    def features(self, ids, segments=None) -> np.ndarray:
        """Return what the head reads, float32, of `ids` [B, T], a text each: [B, D] or [B, T, D]."""
        self._check_no_segments(segments)
        tokens, inputs = alone(tf.constant(self._checked(ids)), self._model.pooling)
        state = self._model.initial_state(len(tokens))
        features, _ = self._model.forward({"tokens": tokens, **inputs}, state)
        features = features if self._model.pooling is None else features[:, 0]
        return tf.cast(features, tf.float32).numpy()

    def _checked(self, ids) -> np.ndarray:
        return check_ids(ids, self._model.vocab_size, self._model.context_length)
