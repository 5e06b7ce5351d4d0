"""Predict what stood in the blanks of a text, token by token."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data import scoring
from lm_keras.data.batch import Batch
from lm_keras.data.blanks import EXTRA_TOKENS, Blanks
from lm_keras.data.labels import Labels
from lm_keras.data.order import Rows, StreamOrder, WindowOrder
from lm_keras.data.packing import side_by_side
from lm_keras.data.pipeline import texts_of
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.objectives.measures import finite, likelihood_measures
from lm_keras.tasks.causal_lm import token_measures
from lm_keras.tasks.masked_lm import hidden_measures, hidden_rows
from lm_keras.tasks.task import Task, common_settings
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Infilling(Task):
    """Predict the tokens of blanks, K of a row.

    A split is cut into rows side by side; in each the same tokens are hidden at every evaluation, and only
    they are scored. With a `stride` the network continues each window by its last tokens instead, and every
    token is scored.

    Attributes:
        blanks: what makes blanks.
    """

    blanks: Blanks

    name = "infilling"
    extra_tokens = EXTRA_TOKENS

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "Infilling":
        blanks = Blanks.of(config, vocab_size, tokenizer)
        return cls(**common_settings(config, vocab_size), blanks=blanks)

    def order(self, store: TokenStore) -> StreamOrder | WindowOrder:
        return self._order(store, self.blanks.text_length)

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        return Batch(*self.blanks(*texts_of(store, rows), step, rows.number[0]))

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        targets = len(store.tokens) - 1
        length = self._window(targets)
        rows = self._rows_at_once(length)
        if self.stride is None:
            yield from hidden_rows(self.blanks, store, side_by_side(targets, length), length, rows)
            return
        stride = min(self.stride, length)
        for block in scoring.windows(store.tokens, length, stride, rows, unscored=store.unscored):
            yield Batch(*self.blanks.continuations(block.targets, block.weights > 0))

    def predictions(self, length: int) -> int:
        return self._blanks(length).predictions

    def row_length(self, length: int) -> int:
        return self._blanks(length).length

    def _blanks(self, length: int) -> Blanks:
        return dataclasses.replace(self.blanks, text_length=length)

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        if self.stride is None:
            return hidden_measures(sums, counts, self._window(counts.tokens))
        return {
            **likelihood_measures(sums["nats"], sums["weight"], counts),
            "accuracy": finite(sums["correct"] / sums["weight"]) if sums["weight"] else None,
            "context": self.longest,
            "stride": self.stride,
        }

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        return token_measures(sums)
