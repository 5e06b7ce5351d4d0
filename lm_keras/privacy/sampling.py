"""Poisson sampling: each step sees each unit of the text with the same probability, whatever it saw before.

The rows of a step are as many as its sample may have, so that shapes never change; those that are left over
are empty. Which units are sampled is a pure function of (key, step).
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from lm_keras.data.order import Rows
from lm_keras.data.store import TokenStore
from lm_keras.tasks.task import Task

CHUNK = 2**22
"""Units for which random numbers are drawn at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """What is protected: parts of a text that share no token.

    Attributes:
        starts: [N] int64, position of the token before the first target of each.
        lengths: [N] int64, targets of each.
    """

    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)


def units_of(store: TokenStore, unit: str, sequence_length: int) -> Units:
    """Return the units of a text.

    A document has the token that ends it. A window has T + 1 tokens, of which the first is read only; so no
    token belongs to two windows, and windows are the same at every step.

    Args:
        store: the text.
        unit: `document` or `window`.
        sequence_length: T.

    Example: windows of T = 3 in a text of 10 targets begin at 0, 4 and 8; the last one has 2 targets.
    """
    targets = len(store.tokens) - 1
    if unit == "window":
        starts = np.arange(0, targets, sequence_length + 1)
        return Units(starts, np.minimum(sequence_length, targets - starts))
    ends = np.minimum(store.ends + 1, targets + 1)
    return Units(store.documents - 1, ends - store.documents)


@dataclasses.dataclass(frozen=True, eq=False)
class SampledOrder:
    """Rows of sampled units, each with one window of its unit, and then empty rows.

    A document longer than T has a window that begins anywhere, or at its beginning or end, which else would
    hardly ever be seen: the window may reach beyond either end and is then moved inside.

    Attributes:
        units: what is sampled.
        expected: B, rows that a sample has on average.
        cap: rows of a sample at most; of more a random part is taken.
        batch_size: rows of a step, at least `cap`.
        sequence_length: T.
        key: 16 bytes that decide the samples.
    """

    units: Units
    expected: int
    cap: int
    batch_size: int
    sequence_length: int
    key: bytes

    resets_begin_documents: ClassVar[bool] = False

    @property
    def targets(self) -> int:
        """Return how many targets all units have."""
        return int(self.units.lengths.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps see as many units as there are; a unit may come twice in them, or never."""
        return -(-len(self.units) // self.expected)

    def sample(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the rows of a step begin and end, [batch_size] int64 each; see `Rows`."""
        counter = int(step) << 128
        random = np.random.Philox(key=int.from_bytes(self.key, "little"), counter=counter)
        count, bound = len(self.units), np.uint64((self.expected << 64) // len(self.units))
        chunks = (
            np.flatnonzero(random.random_raw(min(CHUNK, count - first)) < bound) + first
            for first in range(0, count, CHUNK)
        )
        chosen = np.concatenate(list(chunks))
        if len(chosen) > self.cap:
            chosen = np.sort(chosen[np.argsort(random.random_raw(len(chosen)), kind="stable")[: self.cap]])
        length = self.units.lengths[chosen]
        spare = length - self.sequence_length
        places = np.maximum(length + self.sequence_length - 1, 1).astype(np.uint64)
        drawn = random.random_raw(len(chosen)) % places
        offset = np.clip(drawn.astype(np.int64) - (self.sequence_length - 1), 0, np.maximum(spare, 0))
        start, end = np.zeros((2, self.batch_size), np.int64)
        start[: len(chosen)] = self.units.starts[chosen] + offset
        end[: len(chosen)] = start[: len(chosen)] + np.minimum(length, self.sequence_length)
        return start, end

    def rows(self, step: tf.Tensor, row: tf.Tensor) -> Rows:
        """Return where the given rows [R] of the batch of `step` begin and end."""
        bounds = tf.numpy_function(self.sample, [step], [tf.int64, tf.int64], stateful=False)
        start, end = (tf.gather(tf.ensure_shape(bound, [self.batch_size]), row) for bound in bounds)
        return Rows(start, end, tf.ones_like(row, tf.bool), row, self.sequence_length)


@dataclasses.dataclass(frozen=True, eq=False)
class SampledTask:
    """A task whose rows are sampled; the rest is the task's own.

    Attributes:
        task: the task.
        sampled: its rows.
    """

    task: Task
    sampled: SampledOrder

    def order(self, store: TokenStore) -> SampledOrder:
        """Return which rows of the training text each step sees."""
        del store
        return self.sampled

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def with_secret_masks(task: Task, key: bytes) -> Task:
    """Return a task whose random masks nobody can predict.

    The masks of a row belong to its number. If they were known, it would be known, too, how the masks of all
    other units change when one unit is left out.

    Args:
        task: the task.
        key: at least 8 bytes.
    """
    seed = int.from_bytes(key[:8], "little") >> 1
    for name in ("masking", "spans"):
        if hasattr(task, name):
            task = dataclasses.replace(task, **{name: dataclasses.replace(getattr(task, name), seed=seed)})
    return task
