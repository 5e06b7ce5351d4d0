"""What a network that fills masks says of given text.

B rows of a batch, T positions of a row, D width, V tokens of the text.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from lm_keras.data.spans import Spans
from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import Scorer, check_ids, counts_of
from lm_keras.sampling.generate import NOT_FINITE
from lm_keras.sampling.prompts import check_texts
from lm_keras.text.tokenizer import Tokenizer

ROWS = 16
"""Windows that go through the network at once when texts are scored."""


class InfillScorer(Scorer):
    """Scores texts with a network that fills masks: each window of a text is what follows the one before.

    Args:
        model: a network that predicts masked spans.
        tokenizer: its tokenizer, with a `mask_id`.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._tokenizer = model, tokenizer
        self._window = max(1, model.context_length // 2)
        self._spans = Spans(2 * self._window, tokenizer.vocab_size, tokenizer.mask_id)
        self._nats = tf.function(self._nats_of, reduce_retracing=True, autograph=False)

    def score(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return the negative log-likelihood of each text, token by token from a document's beginning.

        Each half a context of it is one span, read after the half before.

        Returns:
            For each text `nats` (float), and `tokens`, `bytes` and `unknown` as `counts_of` says.
        """
        check_texts(texts)
        found = []
        for text in texts:
            ids = [self._tokenizer.begin_id, *self._tokenizer.encode(text)]
            found.append({"nats": self._of_ids(ids), **counts_of(self._tokenizer, text, ids[1:])})
        return found

    def _of_ids(self, ids: list[int]) -> float:
        size, total = self._window, 0.0
        begins = range(1, len(ids), size)
        for first in range(0, len(begins), ROWS):
            texts = np.zeros([min(ROWS, len(begins) - first), 2 * size], np.int32)
            scored = np.zeros(texts.shape, bool)
            for row, begin in enumerate(begins[first : first + ROWS]):
                window = ids[max(0, begin - size) : begin + size]
                texts[row, : len(window)] = window
                scored[row, min(begin, size) : len(window)] = True
            inputs, targets, weights = self._spans.continuations(texts, scored)
            nats = self._nats(inputs, targets).numpy()
            if not np.isfinite(nats).all():
                raise InputError(NOT_FINITE)
            total += float(np.sum(nats * weights, dtype=np.float64))
        return total

    def logits(self, ids: ArrayLike) -> np.ndarray:
        """Return the logits float32 [B, T, V + 3] at each token of part A, `ids` [B, T]."""
        return self._model.project(self._model.forward({"tokens": self._checked(ids)}, {})[0]).numpy()

    def features(self, ids: ArrayLike, segments: ArrayLike | None = None) -> np.ndarray:
        """Return the last hidden states float32 [B, T, D] at each token of part A, `ids` [B, T]."""
        self._check_no_segments(segments)
        features, _ = self._model.forward({"tokens": self._checked(ids)}, {})
        return tf.cast(features, tf.float32).numpy()

    def _checked(self, ids: ArrayLike) -> np.ndarray:
        return check_ids(ids, self._model.vocab_size, self._model.context_length)

    def _nats_of(self, inputs: Mapping[str, tf.Tensor], targets: tf.Tensor) -> tf.Tensor:
        logits = self._model.project(self._model.forward(inputs, {})[0])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
