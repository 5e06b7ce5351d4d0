"""Score a whole split, every target once; the value depends on the split and the weights alone."""

import keras
import numpy as np
import tensorflow as tf

from lm_keras.data import scoring
from lm_keras.data.pipeline import documents_of
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.layers.masking import Masking
from lm_keras.objectives.losses import per_token_nats
from lm_keras.objectives.metrics import finite, measures

MAX_LOGITS = 2**26
"""Logits held at a time: 256 MiB, so that a large vocabulary does not need more memory than training."""


class Evaluator:
    """Scores splits with one compiled function.

    Args:
        model: a network with `forward`, `project`, `initial_state`, `vocab_size` and `context_tokens`.
        batching: `stream` carries the state through the split; `window` begins anew in each window. A network
            that looks back `context_tokens` tokens has its state carried in any case: every target then has
            exactly the context of one pass, which no window gives its first ones.
        sequence_length: length of the windows.
        stride: targets that a window scores, the last ones; None for all. Given, it also makes windows of
            a model that was trained on streams; they then begin like documents, as its streams did.
        masking: of a network that predicts hidden tokens: the split is cut into windows, and in each the same tokens are hidden
            every time. They alone are scored, so that there is no measure per word, byte or character.
    """

    def __init__(
        self,
        model: keras.Model,
        batching: str,
        sequence_length: int,
        stride: int | None = None,
        masking: Masking | None = None,
    ):
        self._model, self._masking = model, masking
        bounded = model.context_tokens is not None
        self._windows = stride is not None or (batching == "window" and not bounded)
        self._length = sequence_length
        self._like_documents = batching == "stream"
        self._stride = stride or sequence_length
        self._block = tf.function(self._score_block, reduce_retracing=True, autograph=False)

    def __call__(self, store: TokenStore, split: str, step: int) -> dict:
        """Return the fields of `evaluate.py --json` and the accuracy.

        Args:
            store: the tokenized split.
            split: its name.
            step: the step of the weights.
        """
        places = MAX_LOGITS // self._model.vocab_size
        if self._masking is not None:
            return self._hidden(store, split, step, places)
        if self._windows:
            # What a window has beyond the end of the text would only take memory.
            length = min(self._length, max(1, len(store.tokens) - 1))
            rows = max(1, min(32, places // length))
            blocks = scoring.windows(
                store.tokens, length, min(self._stride, length), rows, self._like_documents, store.unscored
            )
        else:
            blocks = scoring.streams(store.tokens, store.documents, places, store.unscored)
        nats, correct, tokens, state = 0.0, 0, 0, None
        for block in blocks:
            if state is None:
                state = self._model.initial_state(len(block.tokens))
            inputs = {
                "tokens": block.tokens,
                "reset": block.reset,
                "document": documents_of(block.tokens, int(store.tokens[0])),
            }
            losses, hits, state = self._block(inputs, block.targets, state)
            nats += float(np.sum(losses.numpy() * block.weights, dtype=np.float64))
            correct += int(np.sum(hits.numpy() * (block.weights > 0)))
            tokens += int(block.weights.sum())
        context = self._length if self._windows else self._model.context_tokens
        how = {"context": context, "stride": self._stride if self._windows else None}
        return _fields(store.counts, split, step, nats, correct, tokens, store.counts) | how

    def _hidden(self, store: TokenStore, split: str, step: int, places: int) -> dict:
        length = min(self._length, max(1, len(store.tokens) - 1))
        rows = max(1, min(32, places // length))
        nats, correct, tokens = 0.0, 0, 0
        for number, block in enumerate(scoring.windows(store.tokens, length, length, rows)):
            row = tf.constant(number * rows, tf.int64)
            inputs, targets, weights = self._masking(
                tf.constant(block.targets), tf.constant(block.weights > 0), tf.constant(0, tf.int64), row
            )
            losses, hits, _ = self._block(inputs, targets, {})
            nats += float(np.sum(losses.numpy() * weights.numpy(), dtype=np.float64))
            correct += int(np.sum(hits.numpy() * (weights.numpy() > 0)))
            tokens += int(weights.numpy().sum())
        how = {"context": length, "stride": None, "hidden": round(tokens / max(1, store.counts.tokens), 4)}
        return _fields(store.counts, split, step, nats, correct, tokens) | how

    def _score_block(self, inputs, targets, state):
        features, state = self._model.forward(inputs, state)
        logits = self._model.project(features)
        best = tf.reduce_max(logits, axis=-1) <= tf.gather(logits, targets, batch_dims=2)
        return per_token_nats(logits, targets), best, state


def _fields(
    counts: TextCounts,
    split: str,
    step: int,
    nats: float,
    correct: int,
    tokens: int,
    whole: TextCounts | None = None,
) -> dict:
    """Return the fields of an evaluation; those per word, byte and character only with the counts of what was scored."""
    return {
        "step": step,
        "split": split,
        "tokens": tokens,
        "bytes": counts.bytes,
        "words": counts.words,
        "characters": counts.characters,
        "unknown": counts.unknown,
        **measures(nats, tokens, whole),
        "accuracy": finite(correct / tokens) if tokens else None,
    }
