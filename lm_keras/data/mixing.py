"""Corpora mixed by weight: which corpus each row of a step is from, and which row of it.

C corpora, R rows of a replica, B rows of a batch, T tokens of a row.
"""

import dataclasses
import functools
import itertools
from typing import ClassVar

import numpy as np
import tensorflow as tf

from lm_keras.data.corpus_weights import shares_of
from lm_keras.data.order import PackedOrder, Rows, StreamOrder, WindowOrder
from lm_keras.errors import InputError


def pattern_of(weights: tuple[int, ...]) -> np.ndarray:
    """Return the corpus of each row of a period, [sum of weights] int64, those of a corpus evenly spread.

    Example:
        >>> pattern_of((3, 1)).tolist(), pattern_of((2, 3)).tolist()
        ([0, 0, 1, 0], [1, 0, 1, 0, 1])
    """
    places = [(np.arange(weight) + 0.5) / weight for weight in weights]
    corpora = np.repeat(np.arange(len(weights)), weights)
    return corpora[np.lexsort((corpora, np.concatenate(places)))]


@dataclasses.dataclass(frozen=True, eq=False)
class MixedOrder:
    """Rows of several corpora in a fixed pattern: row g of a run, counted over all steps, is of corpus
    `pattern[g % period]`, and of that corpus the next one.

    Each corpus goes on at its own pace: when all of its rows have come, it begins again, in another order. An
    epoch has as many rows as all corpora have together.

    Attributes:
        parts: the order of each corpus alone, a window or a packed one.
        offsets: [C], targets before each corpus in the store; 0 where the parts count from the store's
            beginning.
        weights: rows of each corpus in a period.
        batch_size: B.
    """

    parts: tuple[WindowOrder, ...] | tuple[PackedOrder, ...]
    offsets: tuple[int, ...]
    weights: tuple[int, ...]
    batch_size: int

    resets_begin_documents: ClassVar[bool] = False

    @property
    def targets(self) -> int:
        """Return the number of targets of all corpora."""
        return sum(part.targets for part in self.parts)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps have as many rows as all corpora."""
        return -(-sum(part.count for part in self.parts) // self.batch_size)

    @functools.cached_property
    def _table(self) -> tuple[tf.Tensor, tf.Tensor]:
        pattern = pattern_of(self.weights)
        before = [np.count_nonzero(pattern[:slot] == corpus) for slot, corpus in enumerate(pattern)]
        with tf.init_scope():  # Not within the graph of a pipeline, which would hold a copy.
            return tf.constant(pattern), tf.constant(np.array(before, np.int64))

    def rows(self, step: tf.Tensor, row: tf.Tensor) -> Rows:
        """Return where the given rows [R] of the batch of `step` begin and end."""
        number = step * self.batch_size + row
        period, slot = number // sum(self.weights), number % sum(self.weights)
        corpus, before = (tf.gather(values, slot) for values in self._table)
        start = end = tf.zeros_like(number)
        for index, (part, offset, weight) in enumerate(zip(self.parts, self.offsets, self.weights)):
            own = corpus == index
            come = tf.where(own, period * weight + before, 0)  # Rows of the corpus before this one.
            begin, stop = part.bounds(come // part.count, come % part.count)
            start, end = tf.where(own, begin + offset, start), tf.where(own, stop + offset, end)
        return Rows(start, end, tf.ones_like(own), row, self.parts[0].sequence_length)


@dataclasses.dataclass(frozen=True, eq=False)
class MixedStreams:
    """Streams of several corpora: each has some of the rows of a batch, always the same ones.

    Attributes:
        parts: the order of each corpus alone, with its own part of the rows.
        offsets: [C], targets before each corpus in the store.
        resets_begin_documents: as that of a `StreamOrder`.
    """

    parts: tuple[StreamOrder, ...]
    offsets: tuple[int, ...]
    resets_begin_documents: bool

    @property
    def batch_size(self) -> int:
        """Return B."""
        return sum(part.batch_size for part in self.parts)

    @property
    def targets(self) -> int:
        """Return the number of targets of all corpora."""
        return sum(part.targets for part in self.parts)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps have as many targets as all corpora."""
        return -(-self.targets // (self.batch_size * self.parts[0].sequence_length))

    def rows(self, step: tf.Tensor, row: tf.Tensor) -> Rows:
        """Return where the given rows [R] of the batch of `step` begin and end."""
        start = end = tf.zeros_like(row)
        reset = tf.zeros_like(row, tf.bool)
        first = 0
        for part, offset in zip(self.parts, self.offsets):
            own = (row >= first) & (row < first + part.batch_size)
            found = part.rows(step, tf.clip_by_value(row - first, 0, part.batch_size - 1))
            start = tf.where(own, found.start + offset, start)
            end = tf.where(own, found.end + offset, end)
            reset = tf.where(own, found.reset, reset)
            first += part.batch_size
        return Rows(start, end, reset, row, self.parts[0].sequence_length, self.resets_begin_documents)


def mixed_order(
    order: StreamOrder | WindowOrder | PackedOrder, starts: np.ndarray, weights: tuple[int, ...]
) -> MixedOrder | MixedStreams:
    """Return the order of mixed corpora that is made like that of the whole text.

    Args:
        order: of the whole text.
        starts: [C + 1], the first target of each corpus, and their number; of a packed order the first row.
        weights: of the corpora.

    Raises:
        InputError: a corpus has nothing to learn, or no row of a batch.
    """
    starts = [int(start) for start in starts]
    sizes = [last - first for first, last in itertools.pairwise(starts)]
    if min(sizes) < 1:
        raise InputError(
            f"corpus {sizes.index(min(sizes)) + 1} of --corpus has nothing in the training text; leave it out"
        )
    if isinstance(order, PackedOrder):
        own = [order.begins[first : last + 1] for first, last in itertools.pairwise(starts)]
        parts = tuple(dataclasses.replace(order, begins=begins) for begins in own)
        return MixedOrder(parts, (0,) * len(parts), weights, order.batch_size)
    if isinstance(order, WindowOrder):
        parts = tuple(dataclasses.replace(order, targets=size) for size in sizes)
        return MixedOrder(parts, tuple(starts[:-1]), weights, order.batch_size)
    shares = shares_of(order.batch_size, weights)
    if not all(shares):
        raise InputError(
            f"--batch_size={order.batch_size} rows leave none for corpus {shares.index(0) + 1} of --corpus,"
            f" with the weights {','.join(map(str, weights))}; raise it to {-(-sum(weights) // min(weights))}"
        )
    parts = tuple(
        dataclasses.replace(order, targets=size, batch_size=share, seed=order.seed + number)
        for number, (size, share) in enumerate(zip(sizes, shares))
    )
    return MixedStreams(parts, tuple(starts[:-1]), order.resets_begin_documents)
