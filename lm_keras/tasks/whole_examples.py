"""Rows of whole examples side by side: what every task has in common that predicts something of each.

R rows, T positions of a row, K predictions of it.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from lm_keras.data.batch import Batch
from lm_keras.data.example_rows import ExampleRows, Frame, Texts
from lm_keras.data.examples import check_lengths
from lm_keras.data.order import Rows
from lm_keras.data.preparation import PreparedData
from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError
from lm_keras.tasks.task import Order, Task


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WholeExamples(Task):
    """Predict something of whole examples or of parts of them. A row has several examples.

    Attributes:
        frame: the special tokens around each example.
        too_long: what training does with an example that no row holds.
        at_last: whether an example is predicted at its last token; else at its first.
    """

    frame: Frame
    too_long: str
    at_last: bool = True
    _plans: dict[tuple[int, str], ExampleRows] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def too_long_to_score(self) -> str:
        """Return what an evaluation does with an example that no row holds."""
        return self.too_long

    @abc.abstractmethod
    def texts(self, store: TokenStore) -> Texts:
        """Return the examples of a split with what is predicted of them."""

    def weights_of(self, targets: tf.Tensor) -> tf.Tensor:
        """Return the weights float32 of targets in the loss, where there are any, within tf.data."""
        return tf.ones_like(targets, tf.float32)

    def plan(self, store: TokenStore, too_long: str | None = None) -> ExampleRows:
        """Return the rows of a split; they are found once.

        Args:
            store: the split.
            too_long: what becomes of an example that no row holds; None for what training does.
        """
        key = id(store.tokens), too_long or self.too_long
        if key not in self._plans:  # The plan keeps the array, so that no other one gets its id.
            rows = ExampleRows.of(
                self.texts(store),
                self.frame,
                self.sequence_length,
                key[1],
                self.at_last,
                self._corpora(store),
            )
            self._plans[key] = rows
        return self._plans[key]

    def check(self, data: PreparedData, say: Callable[[str], None]) -> None:
        for name, store in data.splits.items():
            too_long = self.too_long if name == "train" else self.too_long_to_score
            self._check_lengths(name, store, too_long, functools.partial(data.source, name), say)

    def check_scored(
        self, name: str, store: TokenStore, source_of: Callable[[int], str], say: Callable[[str], None]
    ) -> None:
        self._check_lengths(name, store, self.too_long_to_score, source_of, say)

    def _check_lengths(
        self,
        name: str,
        store: TokenStore,
        too_long: str,
        source_of: Callable[[int], str],
        say: Callable[[str], None],
    ) -> None:
        around, texts = self.frame.size, self.texts(store)
        lengths, room = texts.ends - texts.begins, self.sequence_length - around
        check_lengths(name, lengths, room, too_long, source_of, say, around)

    def order(self, store: TokenStore) -> Order:
        plan = self.plan(store)
        return self._packed_order(plan.begins, plan.corpora)

    def batch(self, rows: Rows, store: TokenStore, step: tf.Tensor) -> Batch:
        plan, count = self.plan(store), rows.number.shape[0]
        types = [tf.int32] * 5
        found = tf.numpy_function(plan.arrays, [rows.start, rows.end], types, stateful=False)
        tokens, document, predicted, targets, _ = (
            tf.ensure_shape(values, [count, size])
            for values, size in zip(found, [plan.length] * 2 + [plan.predictions] * 3)
        )
        inputs = {"tokens": tokens, "reset": rows.reset, "document": document, "predicted": predicted}
        weights = self.weights_of(tf.maximum(targets, 0))
        return Batch(inputs, tf.maximum(targets, 0), tf.where(targets >= 0, weights, 0.0))

    def scored(self, store: TokenStore) -> Iterator[Batch]:
        plan = self.plan(store, self.too_long_to_score)
        return batches_of(plan, self._rows_at_once(self.sequence_length))

    def tokens_per_target(self, store: TokenStore) -> float:
        plan = self.plan(store)
        targets = np.asarray(plan.texts.labels if plan.texts.tags is None else plan.texts.tags)
        return plan.text_tokens / max(1, int(np.count_nonzero(targets >= 0)))

    def in_windows(self, stride: int | None) -> "WholeExamples":
        if stride is not None:
            raise InputError(
                f"stride={stride} has no meaning for --task={self.name}, which reads whole examples; leave "
                "it out"
            )
        return self


def batches_of(plan: ExampleRows, rows: int) -> Iterator[Batch]:
    """Yield all rows as batches of an evaluation, `rows` at a time."""
    for block in plan.blocks(rows):
        inputs = {
            "tokens": block.tokens,
            "reset": np.ones(rows, bool),
            "document": block.document,
            "predicted": block.positions,
            "number": block.numbers,
        }
        weights = (block.targets >= 0).astype(np.float32)
        yield Batch(inputs, np.maximum(block.targets, 0), weights)
