"""Score a whole split, every target once; the value depends on the split and the weights alone."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from lm_keras.data import scoring
from lm_keras.data.blanks import Blanks
from lm_keras.data.masking import AROUND, Masking
from lm_keras.data.packing import side_by_side
from lm_keras.data.pipeline import documents_of
from lm_keras.data.store import TextCounts, TokenStore
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
        hiding: of a network that predicts hidden tokens: the split is cut into rows as a text of training is,
            and in each the same tokens are hidden every time. They alone are scored, so that there is no
            measure per word, byte or character. With a `stride` a network that fills blanks of any length
            instead continues each window by its last tokens.
    """

    def __init__(
        self,
        model: keras.Model,
        batching: str,
        sequence_length: int,
        stride: int | None = None,
        hiding: Masking | Blanks | None = None,
    ):
        self._model, self._hiding = model, hiding
        bounded = model.context_tokens is not None
        self._windows = stride is not None or (batching == "window" and not bounded)
        self._length = sequence_length
        self._like_documents = batching == "stream"
        self._stride = stride
        # Traced for each shape, so that the same program scores a split whichever splits were scored before
        # it.
        self._block = tf.function(self._score_block, autograph=False)

    def __call__(self, store: TokenStore, split: str, step: int) -> dict:
        """Return the fields of `evaluate.py --json` and the accuracy.

        Args:
            store: the tokenized split.
            split: its name.
            step: the step of the weights.
        """
        nats, correct, tokens, state = 0.0, 0, 0, None
        for inputs, targets, weights in self._batches(store):
            if state is None:
                state = self._model.initial_state(len(targets))
            losses, hits, state = self._block(inputs, targets, state)
            nats += float(np.sum(losses.numpy() * weights, dtype=np.float64))
            correct += int(np.sum(hits.numpy() * (weights > 0)))
            tokens += int(weights.sum())
        if self._hides:
            share = round(tokens / max(1, store.counts.tokens), 4)
            how = {"context": self._window(store), "stride": None, "hidden": share}
            return _fields(store.counts, split, step, nats, correct, tokens) | how
        context = self._length if self._windows else self._model.context_tokens
        how = {"context": context, "stride": (self._stride or self._length) if self._windows else None}
        return _fields(store.counts, split, step, nats, correct, tokens, store.counts) | how

    @property
    def _hides(self) -> bool:
        """Tell whether only tokens that are hidden are scored; else all are, each after those before it."""
        return self._hiding is not None and self._stride is None

    def _window(self, store: TokenStore) -> int:
        """Return the length of a window; what it has beyond the end of the text would only take memory."""
        around = AROUND if isinstance(self._hiding, Masking) else 0
        return min(self._length, max(1, len(store.tokens) - 1) + around)

    def _batches(self, store: TokenStore) -> Iterator[tuple[dict, np.ndarray, np.ndarray]]:
        """Yield inputs, targets and weights, block by block."""
        places, length = MAX_LOGITS // self._model.vocab_size, self._window(store)
        rows = max(1, min(32, places // length))
        if self._hides:
            yield from self._hidden(store, length, rows)
        elif self._hiding is not None:
            for block in scoring.windows(
                store.tokens, length, min(self._stride, length), rows, unscored=store.unscored
            ):
                yield self._hiding.continuations(block.targets, block.weights > 0)
        else:
            stride = min(self._stride or length, length)
            for block in (
                scoring.windows(store.tokens, length, stride, rows, self._like_documents, store.unscored)
                if self._windows
                else scoring.streams(store.tokens, store.documents, places, store.unscored)
            ):
                document = documents_of(block.tokens, int(store.tokens[0]))
                inputs = {"tokens": block.tokens, "reset": block.reset, "document": document}
                yield inputs, block.targets, block.weights

    def _hidden(
        self, store: TokenStore, length: int, rows: int
    ) -> Iterator[tuple[dict, np.ndarray, np.ndarray]]:
        if isinstance(self._hiding, Masking):
            length = max(1, length - AROUND)
            begins = self._hiding.begins(store.tokens, length)
        else:
            begins = side_by_side(len(store.tokens) - 1, length)
        for number, block in enumerate(scoring.rows_of(store.tokens, begins, length, rows)):
            row = tf.constant(number * rows, tf.int64)
            inputs, targets, weights = self._hiding(
                tf.constant(block.targets), tf.constant(block.weights > 0), tf.constant(0, tf.int64), row
            )
            yield inputs, targets, weights.numpy()

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
    """Return the fields of an evaluation; those per word, byte and character only with the counts of what was
    scored.
    """
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
