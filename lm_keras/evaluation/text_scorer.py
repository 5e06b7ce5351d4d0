"""What a model says of given text: nats, logits, features. In blocks, with carried state.

B batch (rows), T time, V vocabulary, D width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import ScoredToken, Scorer, check_ids, counts_of
from lm_keras.sampling.network import State, state_specs
from lm_keras.sampling.prompts import check_texts
from lm_keras.text.tokenizer import Tokenizer

BLOCK = 64
"""Tokens of a row that go through the network at once. Longer rows carry their state on."""

ROWS = 8
"""Texts that are scored side by side; bounds the memory for the logits, ROWS x BLOCK x V floats."""


class _Window(NamedTuple):
    """Tokens that are read, what comes after each, and the first of these that is scored."""

    inputs: list[int]
    targets: list[int]
    first: int


class TextScorer(Scorer):
    """Scores texts and token ids with one model. Each of its functions is traced once, whatever the lengths.

    Args:
        model: a network: `forward(inputs, state)`, `project(features)`, `initial_state(batch_size, length)`.
        tokenizer: the tokenizer the model was trained with.

    Example:
        >>> TextScorer(model, tokenizer).score(["To be"])
        [{'nats': 11.25, 'tokens': 5, 'bytes': 5, 'unknown': 0}]
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model = model
        self._tokenizer = tokenizer
        tokens, state = tf.TensorSpec([None, None], tf.int32), state_specs(model)
        self._features = tf.function(self._features_block, input_signature=[tokens, state], autograph=False)
        self._logits = tf.function(self._logits_block, input_signature=[tokens, state], autograph=False)
        self._nats = tf.function(self._nats_block, input_signature=[tokens, tokens, state], autograph=False)

    @property
    def traces(self) -> int:
        """How often a function of this scorer was traced: at most 3."""
        functions = (self._features, self._logits, self._nats)
        return sum(function.experimental_get_tracing_count() for function in functions)

    def score(self, texts: list[str]) -> list[dict[str, Any]]:
        """Score each text from the state in which a document starts, every token once.

        The token that begins a document is the context of the first token and is not scored itself. A text
        that is longer than the model's context is scored in windows of that length, of which each but the
        first scores the second half.

        Args:
            texts: any number of texts; an empty one scores 0 nats on 0 tokens.

        Returns:
            For each text its summed negative log-likelihood `nats` (float), and `tokens`, `bytes` and
            `unknown` as `counts_of` says. The sum is float64 over float32 values.

        Raises:
            InputError: `texts` is not a list of strings, a text is not valid Unicode, or the model's logits
                are not finite.
        """
        check_texts(texts)
        ids = [list(self._tokenizer.encode(text)) for text in texts]
        windows = [(index, window) for index, tokens in enumerate(ids) for window in self._windows(tokens)]
        # Those of like length go side by side, so that little is computed for padding.
        windows.sort(key=lambda pair: -len(pair[1].targets))
        nats = np.zeros(len(texts))
        for begin in range(0, len(windows), ROWS):
            rows = windows[begin : begin + ROWS]
            np.add.at(nats, [index for index, _ in rows], self._nats_of([window for _, window in rows]))
        for index in np.flatnonzero(~np.isfinite(nats)):
            raise InputError(
                f"the model's loss on texts[{index}] is {nats[index]}, not a finite number; its training has "
                "diverged, use an earlier checkpoint or train with a lower learning rate"
            )
        return [
            {"nats": float(total), **counts_of(self._tokenizer, text, tokens)}
            for total, tokens, text in zip(nats, ids, texts)
        ]

    def token_scores(self, ids: list[int], likeliest: int = 0) -> list[ScoredToken]:
        """Return the score of each token of a text, in the windows of `score`; their log-probabilities sum up
        to its nats.

        Raises:
            InputError: the model's logits are not finite.
        """
        found = [token for window in self._windows(ids) for token in self._tokens_of(window, likeliest)]
        if not np.isfinite([token.log_probability for token in found]).all():
            raise InputError(
                "the model's logits are not finite; its training has diverged, use an earlier checkpoint or"
                " train with a lower learning rate"
            )
        return found

    def _tokens_of(self, window: "_Window", likeliest: int) -> list[ScoredToken]:
        found, state = [], self._model.initial_state(1, length=len(window.inputs))
        for begin in range(0, len(window.inputs), BLOCK):
            part = slice(begin, begin + BLOCK)
            logits, state = self._logits(tf.constant([window.inputs[part]]), state)
            scores = tf.nn.log_softmax(logits[0]).numpy()  # [BLOCK, V]
            targets = np.array(window.targets[part])
            own = scores[np.arange(len(targets)), targets]
            known = scores[:, : self._tokenizer.vocab_size]  # Logits may be padded.
            ranks = 1 + (known > own[:, None]).sum(1)
            best, best_ids = tf.math.top_k(known, min(likeliest, known.shape[1]))
            others = [tuple(zip(*both)) for both in zip(best_ids.numpy().tolist(), best.numpy().tolist())]
            found += map(ScoredToken, targets.tolist(), own.tolist(), ranks.tolist(), others)
        return found[window.first :]

    def logits(self, ids: ArrayLike) -> np.ndarray:
        """Return the logits float32 [B, T, V] after each token of `ids` [B, T], from the model's start state.

        Nothing is put before `ids`: for the logits of a text, begin each row with the tokenizer's `begin_id`.

        Raises:
            InputError: `ids` is not a [B, T] array of integers of the vocabulary.
        """
        return self._whole(self._logits, ids)

    def features(self, ids: ArrayLike, segments: ArrayLike | None = None) -> np.ndarray:
        """Return the last hidden states float32 [B, T, D] at each token of `ids` [B, T].

        Args:
            ids: of the vocabulary.
            segments: None; this family has no segments.

        Raises:
            InputError: there are segments, or `ids` is not a [B, T] array of integers of the vocabulary.
        """
        self._check_no_segments(segments)
        return self._whole(self._features, ids)

    def _windows(self, ids: list[int]) -> list["_Window"]:
        """Return what is read and scored of a text: all at once, or windows where it is longer than the
        context.

        Example: with 0 for the begin of a document and a context of 4 the text [5, 6, 7, 8, 9] has the
        windows
            [0, 5, 6, 7] -> [5, 6, 7, 8], all scored, and [5, 6, 7, 8] -> [6, 7, 8, 9], of which the last is
            scored.
        """
        inputs, most = [self._tokenizer.begin_id, *ids[:-1]], self._model.context_length or len(ids)
        windows, done = [], 0
        while done < len(ids):
            end = min(done + (max(1, most // 2) if done else most), len(ids))
            begin = max(0, end - most)
            windows.append(_Window(inputs[begin:end], ids[begin:end], done - begin))
            done = end
        return windows

    def _nats_of(self, rows: list["_Window"]) -> np.ndarray:
        """Return the summed nats [B] of windows.

        Example:
            The texts [5, 3] and [7] with 0 for the begin of a document become the inputs [[0, 5], [0, 0]],
            the targets [[5, 3], [7, 0]] and the mask [[1, 1], [1, 0]].
        """
        length = max(len(row.targets) for row in rows)
        inputs = np.full([len(rows), length], self._tokenizer.begin_id, np.int32)
        targets, counted = np.zeros_like(inputs), np.zeros([len(rows), length], bool)
        for number, row in enumerate(rows):
            count = len(row.targets)
            inputs[number, :count], targets[number, :count] = row.inputs, row.targets
            counted[number, row.first : count] = True
        total = np.zeros(len(rows))
        state = self._model.initial_state(len(rows), length=length)
        for begin in range(0, length, BLOCK):
            block = np.s_[:, begin : begin + BLOCK]
            nats, state = self._nats(tf.constant(inputs[block]), tf.constant(targets[block]), state)
            # A choice, not a product: the value at a padded position may be anything.
            total += np.where(counted[block], nats.numpy(), 0.0).sum(axis=1, dtype=np.float64)
        return total

    def _whole(self, function: Callable[..., tuple[tf.Tensor, State]], ids: ArrayLike) -> np.ndarray:
        ids = check_ids(ids, self._tokenizer.vocab_size, self._model.context_length)
        state = self._model.initial_state(len(ids), length=ids.shape[1])
        blocks = []
        for begin in range(0, ids.shape[1], BLOCK):
            values, state = function(tf.constant(ids[:, begin : begin + BLOCK]), state)
            blocks.append(values.numpy())
        return np.concatenate(blocks, axis=1)

    def _features_block(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        features, state = self._model.forward({"tokens": tokens}, state)
        return tf.cast(features, tf.float32), state  # [B, BLOCK, D]

    def _logits_block(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        features, state = self._model.forward({"tokens": tokens}, state)
        return self._model.project(features), state  # [B, BLOCK, V]

    def _nats_block(self, tokens: tf.Tensor, targets: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        logits, state = self._logits_block(tokens, state)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits), state


def score(model: keras.Model, tokenizer: Tokenizer, texts: list[str]) -> list[dict[str, Any]]:
    """Score texts once; see `TextScorer.score`. For repeated calls keep a `TextScorer`, which traces only
    once."""
    return TextScorer(model, tokenizer).score(texts)
