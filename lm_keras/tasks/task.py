"""The contract of a task: what is predicted of a text, and how that is scored.

A family says how tokens see each other; a task says what is predicted. Trainer, evaluation and dry run ask
the task alone, so that they know neither families nor tasks by name.

R rows, T positions of a row that the network reads, K positions at which it predicts, V tokens of the text.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.corpora.mixed import specs_in
from lm_keras.data import mixing
from lm_keras.data import order as orders
from lm_keras.data.batch import Batch
from lm_keras.data.columns import Column
from lm_keras.data.corpus_weights import COLUMN, bounds_of, first_targets, weights_of
from lm_keras.data.labels import Labels
from lm_keras.data.mixing import MixedOrder, MixedStreams
from lm_keras.data.order import PackedOrder, Rows, StreamOrder, WindowOrder
from lm_keras.data.preparation import PreparedData
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.objectives.losses import of_targets
from lm_keras.objectives.measures import MEASURES
from lm_keras.tasks.tally import Tally
from lm_keras.text.tokenizer import Tokenizer

Order = StreamOrder | WindowOrder | PackedOrder | MixedOrder | MixedStreams
"""Which rows of a text each step sees."""

MAX_LOGITS = 2**26
"""Logits that an evaluation holds at a time: 256 MiB, so that a large vocabulary needs no more memory than
training."""

MAX_ROWS = 32
"""Rows that an evaluation scores at a time, at most."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """What a run predicts of its text. It is made once, by `lm_keras.tasks.task_of`, and handed on.

    Attributes:
        vocab_size: V.
        sequence_length: positions of a row of training.
        context_length: positions of a row of evaluation, at most; None for `sequence_length`.
        context_tokens: how far a prediction looks back, where that has an end.
        batch_size: rows of a training step.
        batching: `stream` or `window`.
        seed: of the order of the rows, and of what is random in them.
        state_reset: probability that a stream is reset at a step.
        best_by: the measure of validation that decides which weights are the best; None for that of the task.
        corpus_weights: of the corpora of a mixed text; None for a text that is read as it is.
        stride: of an evaluation in windows: targets that each of them scores, the last ones. None for the
            usual way.
        name: of `--task`.
        fields: what a record of the text must have; `lm_keras.registry.SOURCES` says what it has.
        columns: what a token store has to hold beside the tokens.
        extra_tokens: tokens of the network's vocabulary beyond those of the text, the last ones.
        outputs: width of the network's output; None for its vocabulary.
        labels: the names of the outputs; None for tokens.
        best: the measure by which the task is usually judged, and whether `low` or `high` is better.
    """

    vocab_size: int
    sequence_length: int
    context_length: int | None = None
    context_tokens: int | None = None
    batch_size: int = 1
    batching: str = "window"
    seed: int = 0
    state_reset: float = 0.0
    best_by: str | None = None
    corpus_weights: tuple[int, ...] | None = None
    stride: int | None = None

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ("text",)
    columns: ClassVar[tuple[Column, ...]] = ()
    extra_tokens: ClassVar[int] = 0
    outputs: ClassVar[int | None] = None
    labels: ClassVar[Labels | None] = None
    best: ClassVar[tuple[str, str]] = ("nats_per_token", "low")

    @property
    def judged_by(self) -> tuple[str, str]:
        """Return the measure that decides which weights are the best, and whether `low` or `high`
        is better.
        """
        return (self.best_by, MEASURES[self.best_by].better) if self.best_by else self.best

    @classmethod
    def of(
        cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
    ) -> "Task":
        """Return the task of a run.

        Args:
            config: the settings.
            vocab_size: V.
            tokenizer: of the text; None in a dry run that has none yet, where token 1 is the mask.
            labels: of the training text, for a task that predicts labels; None where they are not known yet.

        Raises:
            InputError: nothing can be predicted of such a text.
        """
        raise NotImplementedError

    def check(self, data: PreparedData, say: Callable[[str], None]) -> None:
        """Say what of the text the rows of a run cannot hold, if they have whole examples.

        Args:
            data: the text.
            say: called with a line each.

        Raises:
            InputError: an example is too long, and that is an error.
        """

    def check_scored(
        self, name: str, store: TokenStore, source_of: Callable[[int], str], say: Callable[[str], None]
    ) -> None:
        """Say what of a split the rows of an evaluation cannot hold, if they have whole examples.

        Args:
            name: of the split.
            store: the split.
            source_of: number of an example -> where it is from.
            say: called with a line each.

        Raises:
            InputError: an example is too long, and that is an error.
        """

    def order(self, store: TokenStore) -> Order:
        """Return which rows of a text each step sees."""
        raise NotImplementedError

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        """Return a training batch; it works inside tf.data.

        Args:
            rows: which rows of the text.
            store: the text.
            step: int64 scalar.
        """
        raise NotImplementedError

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        """Yield the batches of an evaluation, every target of a split once; weights are NumPy arrays."""
        raise NotImplementedError

    def observed(self, logits: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what an evaluation needs to know of some targets, within its compiled function.

        Args:
            logits: [R, K, V] float32.
            targets: [R, K] int32.
        """
        return of_targets(logits, targets)

    def tally(self, store: TokenStore) -> Tally:
        """Return what takes in the batches of `scored`."""
        return Tally()

    def tokens_per_target(self, store: TokenStore) -> float:
        """Return how many tokens of the text the network reads for a target, which its speed is told in."""
        return 1.0

    def predictions(self, length: int) -> int:
        """Return K for a row of training with `length` tokens."""
        return length

    def row_length(self, length: int) -> int:
        """Return T, the positions that the network reads for a row of training with `length` tokens."""
        return length

    def measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, Any]:
        """Turn the sums over a whole split into its measures.

        Args:
            sums: what the `tally` of the split has.
            counts: what the split holds.

        Returns:
            The measures by name, `context` and `stride` with them. What is not finite or has no meaning is
            None.
        """
        raise NotImplementedError

    def training_measures(self, sums: Mapping[str, float], counts: TextCounts) -> dict[str, float | None]:
        """Turn the sums over some steps into what a training line says beside the loss.

        Args:
            sums: `nats`, `correct` and `weight`.
            counts: what the whole training text holds.
        """
        raise NotImplementedError

    def in_windows(self, stride: int | None) -> "Task":
        """Return this task, evaluated in windows that each score their last `stride` targets; None for the
        usual way.

        Raises:
            InputError: the stride has no meaning.
        """
        if stride is not None and not 1 <= stride <= self.longest:
            raise InputError(
                f"stride={stride}: expected 1 to {self.longest}, the most tokens that the model sees at once"
            )
        return dataclasses.replace(self, stride=stride)

    @property
    def network_vocab_size(self) -> int:
        """Return the tokens that the network reads: those of the text and the extra ones."""
        return self.vocab_size + self.extra_tokens

    @property
    def longest(self) -> int:
        """Return the positions of a row of evaluation, at most."""
        return self.context_length or self.sequence_length

    def _order(self, store: TokenStore, length: int) -> Order:
        """Return the order that `--batching` names, of rows of `length` tokens."""
        targets, documents = len(store.tokens) - 1, len(store.documents)
        order = orders.build(
            self.batching, targets, self.batch_size, length, self.seed, self.state_reset, documents
        )
        if self.corpus_weights is None or COLUMN not in store.columns:  # Random tokens have no corpora.
            return order
        starts = first_targets(store, len(self.corpus_weights))
        return mixing.mixed_order(order, starts, self.corpus_weights)

    def _packed_order(self, begins: np.ndarray, rows: np.ndarray) -> Order:
        """Return the order of packed rows.

        Args:
            begins: where they begin, as `PackedOrder` has it.
            rows: the first row of each corpus, and their number; of one corpus both.
        """
        order = PackedOrder(begins, self.batch_size, self.sequence_length, self.seed)
        if self.corpus_weights is None:
            return order
        return mixing.mixed_order(order, rows, self.corpus_weights)

    def _corpora(self, store: TokenStore) -> np.ndarray:
        """Return the first document of each corpus of a split, and their number; of one corpus both."""
        if self.corpus_weights is None or COLUMN not in store.columns:
            return np.array([0, len(store.documents)])
        return bounds_of(store, len(self.corpus_weights))

    def _logits_at_once(self) -> int:
        """Return the positions whose logits an evaluation may hold at a time."""
        return MAX_LOGITS // (self.outputs or self.network_vocab_size)

    def _rows_at_once(self, length: int) -> int:
        """Return how many rows of `length` positions an evaluation scores at a time."""
        return max(1, min(MAX_ROWS, self._logits_at_once() // length))

    def _window(self, targets: int, around: int = 0) -> int:
        """Return the positions of a row of evaluation: no more than a text of `targets` has, for they would
        only take memory.

        Args:
            targets: of the text.
            around: positions of a row that have no token of the text.
        """
        return min(self.longest, max(1, targets) + around)


def common_settings(config: Config, vocab_size: int) -> dict[str, Any]:
    """Return the fields that every task takes from the settings of a run."""
    batches = config.batches
    return {
        "vocab_size": vocab_size,
        "sequence_length": batches.sequence_length,
        "context_length": config.context_length,
        "context_tokens": config.context_tokens,
        "batch_size": batches.batch_size,
        "batching": config.batching,
        "seed": batches.seed,
        "state_reset": batches.state_reset,
        "best_by": config.learning.best_by,
        "corpus_weights": weights_of(config.data.corpus_weights, len(specs_in(config.data.corpus))),
    }
