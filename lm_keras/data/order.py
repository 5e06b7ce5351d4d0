"""Which tokens the rows of step s see: a pure function of (store, batch settings, seed, s).

So a run needs no iterator to be saved: its position is the step. A store of n + 1 tokens holds n targets,
numbers 1 to n; a row that starts at position a reads tokens a ... a + T - 1 and predicts a + 1 ... a + T.
All functions here take and return int64 tensors and work eagerly and inside tf.data.
"""

import dataclasses
import functools
from typing import ClassVar

import numpy as np
import tensorflow as tf

INDEX_SHUFFLE_KEY, INDEX_SHUFFLE_ROUNDS = 498247692, 4
"""What `tf.random.experimental.index_shuffle` adds to a key, and its rounds."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Where some rows of a batch begin and end.

    Attributes:
        start: [R] int64, position of the first input token.
        end: [R] int64, position after the last input token that has a target; `end <= start` for an empty
            row.
        reset: [R] bool, rows whose state is reset.
        number: [R] int64, number of each row within the global batch, rising by 1.
        length: T, tokens of a row at most.
        resets_begin_documents: whether a row that is reset reads the token that begins a document first.
    """

    start: tf.Tensor
    end: tf.Tensor
    reset: tf.Tensor
    number: tf.Tensor
    length: int
    resets_begin_documents: bool = False


@dataclasses.dataclass(frozen=True)
class StreamOrder:
    """B contiguous streams: each row goes on where it ended at the step before, so that state can be carried.

    Target i belongs to stream i // ceil(n / B). With n = 13 targets, B = 3 rows and T = 2, position by
    position:

        step 0: [0 1] [5 6] [10 11]     step 1: [2 3] [7 8] [12 -]     step 2: [4 -] [9 -] [- -]

    Every target exactly once an epoch; what is missing at the ends (-) has weight 0.

    Where a state is reset, the first token that the row reads may be replaced by the end-of-document token
    (`resets_begin_documents`): that is how the sampler begins, which a text of few documents would otherwise
    hardly ever teach.

    Attributes:
        targets: n.
        batch_size: B.
        sequence_length: T.
        seed: seed of the random resets.
        state_reset: probability that a row's state is reset at a step, so that the network also learns to
            begin in the middle of a text (Melis, Dyer and Blunsom, 2018, reset with probability 0.01).
        resets_begin_documents: whether a row that is reset reads the end-of-document token first.
    """

    targets: int
    batch_size: int
    sequence_length: int
    seed: int = 0
    state_reset: float = 0.0
    resets_begin_documents: bool = True

    @property
    def stream_length(self) -> int:
        """Return how many targets a stream has; the last ones may have fewer."""
        return -(-self.targets // self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps see every target once."""
        return -(-self.stream_length // self.sequence_length)

    def rows(self, step: tf.Tensor, row: tf.Tensor) -> Rows:
        """Return where the given rows [R] of the batch of `step` begin and end."""
        within = step % self.steps_per_epoch
        length, n = self.stream_length, self.targets
        start = row * length + within * self.sequence_length
        end = tf.minimum(tf.minimum(start + self.sequence_length, (row + 1) * length), n)
        reset = tf.fill(tf.shape(row), within == 0)
        if self.state_reset:
            drawn = tf.random.stateless_uniform(
                [self.batch_size], tf.stack([tf.constant(self.seed, tf.int64), step])
            )
            reset |= tf.gather(drawn, row) < self.state_reset
        begins = self.resets_begin_documents
        return Rows(tf.minimum(start, n), end, reset, row, self.sequence_length, begins)


@dataclasses.dataclass(frozen=True)
class WindowOrder:
    """Windows of T tokens side by side, in a new order each epoch; each row is independent of all others.

    With n = 13 targets and T = 5 the windows of the first epoch start at 0, 5 and 10; the last has 3 targets
    and 2 positions of weight 0. In later epochs they lie elsewhere, begun that many tokens before the text,
    so that a target is not seen at the same position of a window each time: with a shift of 2 they are 0 ...
    2, 3 ... 7, 8 ... 12. Every target exactly once an epoch. There is one window more than the first epoch
    needs, and a last batch that is not full: these rows are empty.

    Attributes:
        targets: n.
        batch_size: B.
        sequence_length: T.
        seed: seed of order and shifts.
    """

    targets: int
    batch_size: int
    sequence_length: int
    seed: int

    resets_begin_documents: ClassVar[bool] = False

    @property
    def count(self) -> int:
        """Return how many windows an epoch has, whatever its shift."""
        return -(-(self.targets + self.sequence_length - 1) // self.sequence_length)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps see every target once."""
        return -(-self.count // self.batch_size)

    def rows(self, step: tf.Tensor, row: tf.Tensor) -> Rows:
        """Return where the given rows [R] of the batch of `step` begin and end."""
        epoch, within = step // self.steps_per_epoch, step % self.steps_per_epoch
        example = within * self.batch_size + row
        exists = example < self.count
        start, end = self.bounds(epoch, tf.minimum(example, self.count - 1))
        return Rows(start, tf.where(exists, end, start), tf.ones_like(exists), row, self.sequence_length)

    def bounds(self, epoch: tf.Tensor, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return where some windows [R] begin and end.

        Args:
            epoch: int64, a scalar or of each window [R].
            example: [R] int64, in the order of the epoch.
        """
        window = shuffled(example, self.count, self.seed, epoch)
        begin = window * self.sequence_length - self._shift(epoch)
        start = tf.clip_by_value(begin, 0, self.targets)
        return start, tf.minimum(begin + self.sequence_length, self.targets)

    def _shift(self, epoch: tf.Tensor) -> tf.Tensor:
        """Return how many tokens before the text the first window of an epoch begins, 0 to T - 1."""
        if epoch.shape.rank:
            return tf.map_fn(self._shift, epoch)
        key = tf.stack([tf.constant(self.seed, tf.int64), epoch])
        drawn = tf.random.stateless_uniform([], key, 0, self.sequence_length, tf.int64)
        return tf.where(epoch > 0, drawn, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedOrder:
    """Rows of different lengths side by side, in a new order each epoch; each is independent of all others.

    With the begins [0, 3, 4, 9] the rows have the targets 1 ... 3, 4, and 5 ... 9. Every target exactly once
    an epoch. A last batch that is not full has empty rows.

    Attributes:
        begins: [rows + 1] int64, how many targets come before each row, and n.
        batch_size: B.
        sequence_length: T, tokens of a row at most.
        seed: seed of the order.
    """

    begins: np.ndarray
    batch_size: int
    sequence_length: int
    seed: int

    resets_begin_documents: ClassVar[bool] = False

    @property
    def targets(self) -> int:
        """Return n."""
        return int(self.begins[-1] - self.begins[0])

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return len(self.begins) - 1

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps see every target once."""
        return -(-self.count // self.batch_size)

    @functools.cached_property
    def _begins(self) -> tf.Tensor:
        with tf.init_scope():  # Not within the graph of a pipeline, which would hold a copy.
            return tf.constant(self.begins)

    def rows(self, step: tf.Tensor, row: tf.Tensor) -> Rows:
        """Return where the given rows [R] of the batch of `step` begin and end."""
        epoch, within = step // self.steps_per_epoch, step % self.steps_per_epoch
        example = within * self.batch_size + row
        exists = example < self.count
        start, end = self.bounds(epoch, tf.minimum(example, self.count - 1))
        return Rows(start, tf.where(exists, end, start), tf.ones_like(exists), row, self.sequence_length)

    def bounds(self, epoch: tf.Tensor, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return where some rows [R] begin and end; arguments are those of `WindowOrder.bounds`."""
        number = shuffled(example, self.count, self.seed, epoch)
        return tf.gather(self._begins, number), tf.gather(self._begins, number + 1)


def shuffled(index: tf.Tensor, size: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Return where each index goes in a random permutation of 0 ... size - 1 that is never held in memory.

    `tf.random.experimental.index_shuffle` is no permutation where its largest index is a power of four
    from 2^16 on (one index comes twice, one never). There the domain is made one larger; the one index that
    then lands on the extra place is sent on from there, which leads back into the domain.

    Args:
        index: [R] int64, each in 0 ... size - 1.
        size: how many indices there are.
        seed: the run's seed.
        epoch: int64, a scalar or that of each index [R]; each epoch has an order of its own.
    """
    largest = size - 1
    extra = largest >= 2**16 and largest & (largest - 1) == 0
    epoch = tf.cast(epoch, tf.int64)
    key = tf.stack([tf.fill(tf.shape(epoch), tf.constant(seed, tf.int64)), epoch], axis=-1)
    last = tf.constant(largest + extra, tf.int64)
    place = _index_shuffle(index, key, last)
    if not extra:
        return place
    beyond = _index_shuffle(last, key, last)
    return tf.where(place == last, beyond, place)


def _index_shuffle(index: tf.Tensor, key: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Return what `tf.random.experimental.index_shuffle` does, which takes no matrix of keys [R, 2], though
    it says so: it puts its constant before the first key, and not into each.
    """
    if key.shape.rank == 1:
        return tf.random.experimental.index_shuffle(index, key, last)
    seed = tf.pad(key, [[0, 0], [1, 0]], constant_values=INDEX_SHUFFLE_KEY)
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=seed, max_index=last, rounds=INDEX_SHUFFLE_ROUNDS)


def build(
    batching: str,
    targets: int,
    batch_size: int,
    sequence_length: int,
    seed: int,
    state_reset: float = 0.0,
    documents: int = 1,
    begins: np.ndarray | None = None,
) -> StreamOrder | WindowOrder | PackedOrder:
    """Return the order that `--batching` names, or with `begins` that of these rows.

    A text with as many documents as a batch has rows shows often enough how one begins; there a row that
    is reset in the middle of one keeps its first token, and the end-of-document token its meaning.
    """
    if begins is not None:
        return PackedOrder(begins, batch_size, sequence_length, seed)
    if batching == "stream":
        few = documents < batch_size
        return StreamOrder(targets, batch_size, sequence_length, seed, state_reset, few)
    return WindowOrder(targets, batch_size, sequence_length, seed)
