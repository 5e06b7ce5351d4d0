"""Predict the next token from those before it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data import scoring
from lm_keras.data.batch import Batch
from lm_keras.data.labels import Labels
from lm_keras.data.order import Rows
from lm_keras.data.pipeline import documents_of, next_tokens
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.objectives.measures import finite, likelihood_measures
from lm_keras.tasks.task import Order, Task, common_settings
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CausalLM(Task):
    """Predict every next token, K = T.

    Streams are evaluated with a state that is carried through the split, windows each start from nothing. A
    network that looks back `context_tokens` tokens has its state carried in any case: every target then has
    exactly the context of one pass, which no window gives its first ones. With a `stride` streams are
    evaluated in windows, too; these begin like documents, as the streams did.
    """

    name = "causal_lm"

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "CausalLM":
        return cls(**common_settings(config, vocab_size))

    def order(self, store: TokenStore) -> Order:
        return self._order(store, self.sequence_length)

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        return next_tokens(store, rows)

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        for block in self._blocks(store):
            document = documents_of(block.tokens, int(store.tokens[0]))
            yield Batch(
                {"tokens": block.tokens, "reset": block.reset, "document": document},
                block.targets,
                block.weights,
            )

    def _blocks(self, store: TokenStore) -> Iterator[scoring.ScoredRows]:
        if not self._windows:
            return scoring.streams(store.tokens, store.documents, self._logits_at_once(), store.unscored)
        length = self._window(len(store.tokens) - 1)
        stride, rows = min(self.stride or length, length), self._rows_at_once(length)
        return scoring.windows(store.tokens, length, stride, rows, self.batching == "stream", store.unscored)

    @property
    def _windows(self) -> bool:
        """Tell whether a split is evaluated in windows that each start from nothing."""
        return self.stride is not None or (self.batching == "window" and self.context_tokens is None)

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        return {
            **likelihood_measures(sums["nats"], sums["weight"], counts),
            "accuracy": finite(sums["correct"] / sums["weight"]) if sums["weight"] else None,
            "context": self.longest if self._windows else self.context_tokens,
            "stride": (self.stride or self.longest) if self._windows else None,
        }

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        return {**token_measures(sums), "bits_per_byte": _bits_per_byte(sums, counts)}

    def in_windows(self, stride: int | None) -> "CausalLM":
        if stride is not None and self.context_tokens is not None:
            raise InputError(
                f"stride={stride} has no meaning for a model that looks back {self.context_tokens} tokens: "
                "every target has its whole context without it; leave it out"
            )
        return super().in_windows(stride)


def token_measures(sums: Mapping[str, float]) -> dict[str, float | None]:
    """Return the measures of a training line that need no text: perplexity, accuracy, and no bits per
    byte."""
    weight = sums["weight"]
    return {
        "perplexity": likelihood_measures(sums["nats"], weight)["perplexity"],
        "bits_per_byte": None,
        "accuracy": finite(sums["correct"] / weight) if weight else None,
    }


def _bits_per_byte(sums: Mapping[str, float], counts: TextCounts) -> float | None:
    """Return bits per byte of some targets, by the bytes that a token of the whole text has on average."""
    if counts.unknown or not sums["weight"]:
        return None
    return finite(sums["nats"] / sums["weight"] / math.log(2) / (counts.bytes / counts.tokens))
