"""What a model says of given text: nats, logits, features. In blocks, with carried state.

B batch (rows), T time, V vocabulary, D width.
"""

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.sampling.loop import state_specs
from lm_keras.sampling.settings import check_text

BLOCK = 64
"""Tokens of a row that go through the network at once. Longer rows carry their state on."""

ROWS = 8
"""Texts that are scored side by side; bounds the memory for the logits, ROWS x BLOCK x V floats."""


class Scorer:
    """Scores texts and token ids with one model. Each of its functions is traced once, whatever the lengths.

    Args:
        model: a network: `forward(inputs, state)`, `project(features)`, `initial_state(batch_size, length)`.
        tokenizer: the tokenizer the model was trained with.

    Example:
        >>> Scorer(model, tokenizer).score(["To be"])
        [{'nats': 11.25, 'tokens': 5, 'bytes': 5}]
    """

    def __init__(self, model: keras.Model, tokenizer):
        self._model = model
        self._tokenizer = tokenizer
        tokens, state = tf.TensorSpec([None, BLOCK], tf.int32), state_specs(model)
        self._features = tf.function(self._features_block, input_signature=[tokens, state], autograph=False)
        self._logits = tf.function(self._logits_block, input_signature=[tokens, state], autograph=False)
        self._nats = tf.function(self._nats_block, input_signature=[tokens, tokens, state], autograph=False)

    @property
    def traces(self) -> int:
        """How often a function of this scorer was traced: at most 3."""
        functions = (self._features, self._logits, self._nats)
        return sum(function.experimental_get_tracing_count() for function in functions)

    def score(self, texts: list[str]) -> list[dict]:
        """Score each text from the state in which a document starts, every token once.

        The end-of-document token is the context of the first token and is not scored itself.

        Args:
            texts: any number of texts; an empty one scores 0 nats on 0 tokens.

        Returns:
            For each text its summed negative log-likelihood `nats` (float), `tokens` (int), and `bytes` (int),
            the length of the given text in UTF-8. The sum is float64 over float32 values.

        Raises:
            InputError: `texts` is no list of strings, a text is no valid Unicode, or the model's logits are
                not finite.
        """
        if isinstance(texts, str) or not isinstance(texts, (list, tuple)):
            raise InputError(
                f'texts is a {type(texts).__name__}, not a list of strings; for one text write ["..."]'
            )
        for index, text in enumerate(texts):
            check_text(f"texts[{index}]", text)
        ids = [list(self._tokenizer.encode(text)) for text in texts]
        nats = np.zeros(len(texts))
        # Texts of like length go side by side, so that little is computed for padding.
        order = sorted(range(len(texts)), key=lambda index: -len(ids[index]))
        order = [index for index in order if ids[index]]
        for begin in range(0, len(order), ROWS):
            rows = order[begin : begin + ROWS]
            nats[rows] = self._nats_of([ids[index] for index in rows])
        for index in np.flatnonzero(~np.isfinite(nats)):
            raise InputError(
                f"the model's loss on texts[{index}] is {nats[index]}, not a finite number; its training has "
                "diverged, use an earlier checkpoint or train with a lower learning rate"
            )
        return [
            {"nats": float(total), "tokens": len(tokens), "bytes": len(text.encode("utf-8"))}
            for total, tokens, text in zip(nats, ids, texts)
        ]

    def logits(self, ids) -> np.ndarray:
        """Return the logits float32 [B, T, V] after each token of `ids` [B, T], from the model's start state.

        Nothing is put before `ids`: for the logits of a text, begin each row with the end-of-document token.

        Raises:
            InputError: `ids` is not a [B, T] array of integers of the vocabulary.
        """
        return self._whole(self._logits, ids)

    def features(self, ids) -> np.ndarray:
        """Return the last hidden states float32 [B, T, D] at each token of `ids` [B, T].

        Raises:
            InputError: `ids` is not a [B, T] array of integers of the vocabulary.
        """
        return self._whole(self._features, ids)

    def _nats_of(self, rows: list[list[int]]) -> np.ndarray:
        """Return the summed nats [B] of rows of ids.

        Example:
            Rows [5, 3] and [7] with end-of-document 0 and blocks of 4 become the inputs
            [[0, 5, 0, 0], [0, 0, 0, 0]], the targets [[5, 3, 0, 0], [7, 0, 0, 0]] and the mask
            [[1, 1, 0, 0], [1, 0, 0, 0]].
        """
        eod_id = self._tokenizer.eod_id
        length = _round_up(max(map(len, rows)))
        inputs = np.full([len(rows), length], eod_id, np.int32)
        targets = np.full([len(rows), length], eod_id, np.int32)
        counted = np.zeros([len(rows), length], bool)
        for row, ids in enumerate(rows):
            inputs[row, 1 : len(ids)] = ids[:-1]
            targets[row, : len(ids)] = ids
            counted[row, : len(ids)] = True
        total = np.zeros(len(rows))
        state = self._model.initial_state(len(rows), length=length)
        for begin in range(0, length, BLOCK):
            block = np.s_[:, begin : begin + BLOCK]
            nats, state = self._nats(tf.constant(inputs[block]), tf.constant(targets[block]), state)
            # A choice, not a product: what stands at a padded position may be anything.
            total += np.where(counted[block], nats.numpy(), 0.0).sum(axis=1, dtype=np.float64)
        return total

    def _whole(self, function, ids) -> np.ndarray:
        ids = self._checked(ids)
        count = ids.shape[1]
        ids = np.pad(ids, [(0, 0), (0, _round_up(count) - count)])  # The future does not change the past.
        state = self._model.initial_state(len(ids), length=ids.shape[1])
        blocks = []
        for begin in range(0, ids.shape[1], BLOCK):
            values, state = function(tf.constant(ids[:, begin : begin + BLOCK]), state)
            blocks.append(values.numpy())
        return np.concatenate(blocks, axis=1)[:, :count]

    def _checked(self, ids) -> np.ndarray:
        try:
            array = np.asarray(ids)
        except ValueError:
            raise InputError(
                "ids has rows of different lengths; give rows of one length, or one row at a time"
            ) from None
        if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"ids has shape {list(array.shape)} and type {array.dtype}, not [B, T] with integers; "
                "for one sequence of tokens write [ids]"
            )
        vocab_size = self._tokenizer.vocab_size
        wrong = array[(array < 0) | (array >= vocab_size)]
        if wrong.size:
            raise InputError(
                f"ids has the token {wrong[0]}, but the vocabulary goes from 0 to {vocab_size - 1}; "
                "make ids with the encode of this model's own tokenizer"
            )
        return array.astype(np.int32)

    def _features_block(self, tokens, state):
        features, state = self._model.forward({"tokens": tokens}, state)
        return tf.cast(features, tf.float32), state  # [B, BLOCK, D]

    def _logits_block(self, tokens, state):
        features, state = self._model.forward({"tokens": tokens}, state)
        return self._model.project(features), state  # [B, BLOCK, V]

    def _nats_block(self, tokens, targets, state):
        logits, state = self._logits_block(tokens, state)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits), state


def score(model: keras.Model, tokenizer, texts: list[str]) -> list[dict]:
    """Score texts once; see `Scorer.score`. For repeated calls keep a `Scorer`, which traces only once."""
    return Scorer(model, tokenizer).score(texts)


def _round_up(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
