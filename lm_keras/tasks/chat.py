"""Predict what the assistant says in a conversation, token by token."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from lm_keras.config import Config
from lm_keras.data.batch import Batch
from lm_keras.data.conversations import LEARNT
from lm_keras.data.example_rows import Frame, Texts
from lm_keras.data.labels import Labels
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.objectives.measures import target_measures
from lm_keras.tasks.task import common_settings
from lm_keras.tasks.whole_examples import WholeExamples, batches_of
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ChatLM(WholeExamples):
    """Predict the turns of the assistant and their ends, from all turns before them. A row has several
    conversations, K tokens are predicted of it.

    Of a conversation with the tokens [5, 6, 7, 8, 9], of which the assistant says [7] and [9], a row reads
    5 6 7 8 and predicts 7 behind 6 and 9 behind 8.
    """

    name = "chat"
    fields = ("messages",)
    columns = (LEARNT,)

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "ChatLM":
        too_long = config.data.too_long or "cut_end"
        return cls(**common_settings(config, vocab_size), frame=Frame(), too_long=too_long)

    def texts(self, store: TokenStore) -> Texts:
        """Return the conversations of a split without their last tokens, which are predicted only."""
        return Texts(store.tokens, store.documents, store.ends - 1, tags=store.columns[LEARNT.name])

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        """Yield the batches of an evaluation; K is a power of two, so that few splits have others."""
        plan = self.plan(store, self.too_long_to_score)
        most = min(self.sequence_length, 1 << (plan.predictions - 1).bit_length())
        plan = dataclasses.replace(plan, predictions=most)
        return batches_of(plan, self._rows_at_once(self.sequence_length))

    def predictions(self, length: int) -> int:
        """Return K of the rows that were planned, else the positions of a row."""
        return max((plan.predictions for plan in self._plans.values()), default=length)

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        return {**target_measures(sums), "context": self.sequence_length, "stride": None}

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        found = target_measures(sums)
        return {name: found[name] for name in ("perplexity", "accuracy")}
