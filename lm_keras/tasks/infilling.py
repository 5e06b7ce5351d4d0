"""Predict the masked spans of a text, token by token."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data import scoring
from lm_keras.data.batch import Batch
from lm_keras.data.labels import Labels
from lm_keras.data.order import Rows
from lm_keras.data.packing import side_by_side
from lm_keras.data.pipeline import texts_of
from lm_keras.data.spans import EXTRA_TOKENS, Spans
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.objectives.measures import finite, likelihood_measures
from lm_keras.tasks.causal_lm import token_measures
from lm_keras.tasks.masked_lm import masked_measures, masked_rows
from lm_keras.tasks.task import Order, Task, common_settings
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Infilling(Task):
    """Predict the tokens of spans, K of a row.

    A split is cut into rows side by side; in each the same tokens are masked at every evaluation, and only
    they are scored. With a `stride` the network continues each window by its last tokens instead, and every
    token is scored.

    Attributes:
        spans: what makes the spans.
    """

    spans: Spans

    name = "infilling"
    extra_tokens = EXTRA_TOKENS

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "Infilling":
        spans = Spans.of(config, vocab_size, tokenizer)
        return cls(**common_settings(config, vocab_size), spans=spans)

    def order(self, store: TokenStore) -> Order:
        return self._order(store, self.spans.text_length)

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        return Batch(*self.spans(*texts_of(store, rows), step, rows.number[0]))

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        targets = len(store.tokens) - 1
        length = self._window(targets)
        rows = self._rows_at_once(length)
        if self.stride is None:
            yield from masked_rows(self.spans, store, side_by_side(targets, length), length, rows)
            return
        stride = min(self.stride, length)
        for block in scoring.windows(store.tokens, length, stride, rows, unscored=store.unscored):
            yield Batch(*self.spans.continuations(block.targets, block.weights > 0))

    def predictions(self, length: int) -> int:
        return self._spans(length).predictions

    def row_length(self, length: int) -> int:
        return self._spans(length).length

    def _spans(self, length: int) -> Spans:
        return dataclasses.replace(self.spans, text_length=length)

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        if self.stride is None:
            return masked_measures(sums, counts, self._window(counts.tokens))
        return {
            **likelihood_measures(sums["nats"], sums["weight"], counts),
            "accuracy": finite(sums["correct"] / sums["weight"]) if sums["weight"] else None,
            "context": self.longest,
            "stride": self.stride,
        }

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        return token_measures(sums)
