"""Predict the target text of a source text, token by token.

R rows, S positions of a row of sources, T positions of a row that is predicted or read as a whole, K
predictions of it; B sources that are read to generate.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.data.batch import Batch
from lm_keras.data.labels import Labels
from lm_keras.data.order import Rows
from lm_keras.data.pair_rows import PairFrame, PairRows, RowsApart, RowsTogether, padded
from lm_keras.data.pairs import Pairs, check_sides
from lm_keras.data.preparation import PreparedData
from lm_keras.data.spans import END, EXTRA_TOKENS, GENERATE, START
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.data.words import encoded_source
from lm_keras.errors import InputError
from lm_keras.objectives.measures import target_measures
from lm_keras.tasks.task import Order, Task, common_settings
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Seq2Seq(Task):
    """Predict targets of sources. A row has several pairs.

    A network with an encoder reads sources and targets apart. Others read the source, a token that separates,
    and the target in one row. A GLM reads the source and a mask as part A, and the target is the span in part
    B. Positions and attention are those of each pair alone.

    Attributes:
        frame: the special tokens of a pair.
        has_encoder: whether the network reads sources apart.
        mask_id: the token of a GLM that stands for the target; None for other networks.
        too_long: `--too_long`, or None.
        kept_first: whether a source begins with the language of its target.
    """

    frame: PairFrame
    has_encoder: bool = True
    mask_id: int | None = None
    too_long: str | None = None
    kept_first: bool = False
    _plans: dict[int, PairRows] = dataclasses.field(default_factory=dict, repr=False)

    name = "seq2seq"
    fields = ("source", "target")

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "Seq2Seq":
        begin_id, end_id = (tokenizer.begin_id, tokenizer.eod_id) if tokenizer else (0, 0)
        has_encoder, mask_id = config.model.has("encoder"), None
        frame = PairFrame(begin_id, end_id, end_id if has_encoder else None)
        if config.model.has("infilling"):
            frame, mask_id = PairFrame(vocab_size + START, vocab_size + END), vocab_size + GENERATE
        return cls(
            **common_settings(config, vocab_size),
            frame=frame,
            has_encoder=has_encoder,
            mask_id=mask_id,
            too_long=config.data.too_long,
            kept_first=bool(tokenizer and tokenizer.languages),
        )

    @property
    def extra_tokens(self) -> int:
        """Return the tokens of the network's vocabulary beyond those of the text."""
        return 0 if self.mask_id is None else EXTRA_TOKENS

    @property
    def first_id(self) -> int:
        """Return the token that is read before the target, which its first token is predicted from."""
        return self.frame.first_id

    @property
    def end_id(self) -> int:
        """Return the token that ends a target."""
        return self.frame.end_id

    def plan(self, store: TokenStore) -> PairRows:
        """Return the rows of a split; they are found once."""
        key = id(store.tokens)
        if key not in self._plans:  # The plan keeps the array, so that no other one gets its id.
            pairs = Pairs.in_store(store, self.kept_first)
            settings = pairs, self.frame, self.sequence_length, self.too_long, self._corpora(store)
            self._plans[key] = (
                RowsApart.of(*settings) if self.has_encoder else RowsTogether.of(*settings, self.mask_id)
            )
        return self._plans[key]

    def check(self, data: PreparedData, say: Callable[[str], None]) -> None:
        for name, store in data.splits.items():
            plan = self.plan(store)
            targets = self.too_long or ("error" if name == "train" else "cut_end")
            how = self.too_long or "cut_end", "cut_end" if targets == "cut_start" else targets
            check_sides(name, plan.pairs, plan.fitted, how, functools.partial(data.source, name), say)

    def order(self, store: TokenStore) -> Order:
        plan = self.plan(store)
        return self._packed_order(plan.begins, plan.corpora)

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        plan, count = self.plan(store), rows.number.shape[0]
        types = [tf.int32] * (len(plan.widths) - 1) + [tf.float32]
        found = tf.numpy_function(plan.arrays, [rows.start, rows.end], types, stateful=False)
        *inputs, targets, weights = (
            tf.ensure_shape(values, [count, width]) for values, width in zip(found, plan.widths)
        )
        return Batch({**dict(zip(plan.names, inputs)), "reset": rows.reset}, targets, weights)

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        return self.plan(store).blocks(self._rows_at_once(self.sequence_length))

    def predictions(self, length: int) -> int:
        """Return K of the rows that were planned, else the positions of a row."""
        return max((plan.predictions for plan in self._plans.values()), default=length)

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        return {**target_measures(sums), "context": self.sequence_length, "stride": None}

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        found = target_measures(sums)
        return {name: found[name] for name in ("perplexity", "accuracy")}

    def tokens_per_target(self, store: TokenStore) -> float:
        plan = self.plan(store)
        return (int(plan.fitted.source_sizes.sum()) + plan.targets) / max(1, plan.targets)

    def in_windows(self, stride: int | None) -> "Seq2Seq":
        if stride is not None:
            raise InputError(
                f"stride={stride} has no meaning for --task={self.name}, which reads whole pairs; leave it"
                " out"
            )
        return self

    def source_ids(self, tokenizer: Tokenizer, text: str, target_language: str | None = None) -> np.ndarray:
        """Return the tokens of a source as a store has them, [n] int32; they are not cut.

        Args:
            tokenizer: of the run.
            text: the source.
            target_language: that into which it is translated; None for a network of one language.

        Raises:
            InputError: the network does not know the language, or needs one.
        """
        return encoded_source(tokenizer, text.strip(), target_language)

    @property
    def source_room(self) -> int:
        """Return the tokens of a source that the network reads to generate, at most: a quarter of a row is
        for the target, where they share one.
        """
        if self.has_encoder:
            return self.sequence_length - self.frame.source_size
        return self.sequence_length - self.sequence_length // 4

    def fitting(self, ids: np.ndarray, too_long: str | None = None) -> np.ndarray:
        """Cut the tokens of a source to what the network reads, [n] int32.

        Args:
            ids: as `source_ids` returns them.
            too_long: `cut_end` or `cut_start`; None for what training does.
        """
        if len(ids) <= self.source_room:
            return ids
        if (too_long or self.too_long) != "cut_start":
            return ids[: self.source_room]
        first = ids[: int(self.kept_first)]
        return np.concatenate([first, ids[len(ids) - self.source_room + len(first) :]])

    def encoder_rows(self, sources: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return sources as an encoder reads them, one a row.

        Args:
            sources: tokens of each, as `fitting` returns them.

        Returns:
            `source` [B, S] int32, with its end token, and `source_document` [B, S] int32, 0 and behind the
            source 1; S is a multiple of 8.
        """
        end = np.array([self.frame.source_end_id], np.int32)
        tokens, lengths = padded([np.concatenate([ids, end]) for ids in sources], self.frame.source_end_id)
        document = (np.arange(tokens.shape[1]) >= lengths[:, None]).astype(np.int32)
        return {"source": tokens, "source_document": document}

    def prefix(self, source: np.ndarray) -> list[int]:
        """Return what a network without an encoder reads before it predicts the first token of a target: the
        source, for a GLM the mask, and `first_id`; of one with an encoder, what its decoder reads.
        """
        before = [] if self.has_encoder else [*source.tolist(), *self._mask()]
        return [*before, self.first_id]

    def _mask(self) -> list[int]:
        return [] if self.mask_id is None else [self.mask_id]
