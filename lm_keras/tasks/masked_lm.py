"""Predict masked tokens, from all others of a row."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data import mixing, scoring
from lm_keras.data.batch import Batch
from lm_keras.data.corpus_weights import COLUMN, first_targets
from lm_keras.data.labels import Labels
from lm_keras.data.masking import AROUND, Masking, masked_positions
from lm_keras.data.order import PackedOrder, Rows
from lm_keras.data.pipeline import texts_of
from lm_keras.data.spans import Spans
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.objectives.measures import finite, likelihood_measures
from lm_keras.tasks.causal_lm import token_measures
from lm_keras.tasks.task import Order, Task, common_settings
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MaskedLM(Task):
    """Predict masked tokens, K of a row.

    A split is cut into rows as a text of training is; in each the same tokens are masked at every evaluation.
    Only they are scored, so that there is no measure per word, byte or character.

    Attributes:
        masking: what masks tokens.
    """

    masking: Masking
    _begins: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = dataclasses.field(
        default_factory=dict, repr=False
    )

    name = "masked_lm"

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "MaskedLM":
        masking = Masking.of(config, vocab_size, tokenizer)
        return cls(**common_settings(config, vocab_size), masking=masking)

    def begins(self, store: TokenStore, length: int) -> np.ndarray:
        """Return where the rows of a text begin, and its end, [rows + 1] int64; see `Masking.begins`.

        That walks over the whole text, so it is done once for each text and length.

        Args:
            store: the text.
            length: tokens of text in a row, at most.
        """
        key = id(store.tokens), length
        if key not in self._begins:  # The array is kept, so that no other one gets its id.
            self._begins[key] = store.tokens, self.masking.begins(store.tokens, length)
        return self._begins[key][1]

    def order(self, store: TokenStore) -> Order:
        length = self.masking.text_length
        if self.masking.sentences is None:
            return self._order(store, length)
        order = PackedOrder(self.begins(store, length), self.batch_size, length, self.seed)
        if self.corpus_weights is None or COLUMN not in store.columns:
            return order
        starts = first_targets(store, len(self.corpus_weights))  # A row is of the corpus it begins in.
        return mixing.mixed_order(order, np.searchsorted(order.begins, starts), self.corpus_weights)

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        return Batch(*self.masking(*texts_of(store, rows), step, rows.number[0]))

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        window = self._window(len(store.tokens) - 1, AROUND)
        length, rows = max(1, window - AROUND), self._rows_at_once(window)
        return masked_rows(self.masking, store, self.begins(store, length), length, rows)

    def predictions(self, length: int) -> int:
        return masked_positions(length, self.masking.rate)

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        return masked_measures(sums, counts, self._window(counts.tokens, AROUND))

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        return token_measures(sums)

    def in_windows(self, stride: int | None) -> "MaskedLM":
        if stride is not None:
            raise InputError(
                f"stride={stride} has no meaning for --task={self.name}, which predicts masked tokens; "
                "leave it out"
            )
        return self


def masked_rows(
    masking: Masking | Spans, store: TokenStore, begins: np.ndarray, length: int, rows: int
) -> Iterator[Batch]:
    """Yield the rows of a split with the same tokens masked every time.

    Args:
        masking: what masks tokens.
        store: the split.
        begins: [count + 1], where its rows begin, and its end.
        length: tokens of a row, at most.
        rows: of a batch.
    """
    for number, block in enumerate(scoring.rows_of(store.tokens, begins, length, rows)):
        first = tf.constant(number * rows, tf.int64)
        there = tf.constant(block.weights > 0)
        inputs, targets, weights = masking(tf.constant(block.targets), there, tf.constant(0, tf.int64), first)
        yield Batch(inputs, targets, weights.numpy())


def masked_measures(sums: Mapping[str, float], counts: TextCounts, context: int) -> dict[str, Any]:
    """Return the measures of a split of which masked tokens alone were scored, and which share of it these
    were.

    Args:
        sums: `nats`, `correct` and `weight`.
        counts: what the split holds.
        context: positions of a row.
    """
    return {
        **likelihood_measures(sums["nats"], sums["weight"]),
        "accuracy": finite(sums["correct"] / sums["weight"]) if sums["weight"] else None,
        "context": context,
        "stride": None,
        "hidden": round(sums["weight"] / max(1, counts.tokens), 4),
    }
