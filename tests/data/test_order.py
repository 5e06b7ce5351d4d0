"""Which tokens a step sees. Targets are numbers 1 to n; place a holds the input of target a + 1."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.data.order import PackedOrder, StreamOrder, WindowOrder, build, shuffled


def rows_at(order, step, rows=None):
    """Starts, ends and resets of rows at a step, all rows unless they are given."""
    rows = np.arange(order.batch_size) if rows is None else rows
    found = order.rows(tf.constant(step, tf.int64), tf.constant(rows, tf.int64))
    assert found.start.dtype == found.end.dtype == tf.int64
    return found.start.numpy(), found.end.numpy(), found.reset.numpy()


def places(order, step):
    """For each row the places of its inputs."""
    start, end, _ = rows_at(order, step)
    return [list(range(a, b)) for a, b in zip(start, end)]


def test_the_example_of_streams():
    """The arrays of the docstring."""
    stream = StreamOrder(targets=13, batch_size=3, sequence_length=2)
    assert stream.steps_per_epoch == 3
    assert places(stream, 0) == [[0, 1], [5, 6], [10, 11]]
    assert places(stream, 1) == [[2, 3], [7, 8], [12]]
    assert places(stream, 2) == [[4], [9], []]
    assert [places(stream, step) for step in (3, 4, 5)] == [places(stream, step) for step in (0, 1, 2)]
    assert [rows_at(stream, step)[2].tolist() for step in range(4)] == [
        [True] * 3,
        [False] * 3,
        [False] * 3,
        [True] * 3,
    ]


def test_the_example_of_windows():
    """The arrays of the docstring: windows at 0, 5 and 10, the last of 3 targets; later ones elsewhere."""
    window = WindowOrder(targets=13, batch_size=3, sequence_length=5, seed=1)
    assert (window.count, window.steps_per_epoch) == (4, 2)
    seen = places(window, 0) + places(window, 1)
    assert sorted(seen) == [[], [], [], [0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12]]
    assert seen[4] == seen[5] == []  # the rows that fill up the last batch
    assert all(rows_at(window, step)[2].all() for step in range(4))
    epochs = [sorted(places(window, 2 * epoch) + places(window, 2 * epoch + 1)) for epoch in range(1, 20)]
    assert [[], [], [], [0, 1, 2], [3, 4, 5, 6, 7], [8, 9, 10, 11, 12]] in epochs
    assert len({str(rows) for rows in epochs}) == 5


SIZES = [
    (13, 3, 2),
    (99, 7, 5),
    (100, 7, 5),
    (64, 8, 8),
    (63, 8, 8),
    (65, 8, 8),
    (5, 7, 3),
    (7, 7, 1),
    (1, 3, 5),
    (2, 1, 1),
    (101, 1, 13),
    (50, 13, 99),
    (255, 4, 16),
]


def packed(targets, batch_size, length, seed):
    """Rows of 1 to `length` targets."""
    random = np.random.default_rng(targets)
    ends = np.cumsum(random.integers(1, length + 1, targets))
    return PackedOrder(np.array([0, *ends[ends < targets], targets]), batch_size, length, seed)


def orders(sizes):
    windows = [WindowOrder(*sizes, seed=seed) for seed in (3, 4)]
    return [StreamOrder(*sizes), *windows, packed(*sizes, seed=3)]


def counts(order, epoch):
    """How often each target is seen in an epoch, [n]."""
    seen = np.zeros(order.targets, int)
    for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch):
        start, end, _ = rows_at(order, step)
        assert (start >= 0).all() and (start <= order.targets).all()  # the store has n + 1 tokens
        assert (end - start <= order.sequence_length).all()
        for row in places(order, step):
            seen[row] += 1
    return seen


@pytest.mark.parametrize("sizes", SIZES)
def test_every_target_exactly_once_an_epoch(sizes):
    for one in orders(sizes):
        for epoch in (0, 1, 7):
            assert (counts(one, epoch) == 1).all()


class ShortStream(StreamOrder):
    """Broken: drops what does not fill all streams."""

    @property
    def stream_length(self):
        return self.targets // self.batch_size


class LongStream(StreamOrder):
    """Broken: reads on into the next stream."""

    def rows(self, step, row):
        rows = super().rows(step, row)
        return dataclasses.replace(rows, end=tf.minimum(rows.start + self.sequence_length, self.targets))


class FewWindows(WindowOrder):
    """Broken: drops the last windows."""

    @property
    def count(self):
        return self.targets // self.sequence_length


class FullBatches(WindowOrder):
    """Broken: fills the last batch with windows that were seen."""

    def rows(self, step, row):
        rows = super().rows(step, row)
        return dataclasses.replace(rows, end=tf.minimum(rows.start + self.sequence_length, self.targets))


@pytest.mark.parametrize("broken", [ShortStream, LongStream, FewWindows, FullBatches])
def test_the_count_of_targets_can_fail(broken):
    order = broken(98, 4, 5, seed=3) if issubclass(broken, WindowOrder) else broken(98, 3, 5)
    assert not (counts(order, epoch=0) == 1).all()


def test_streams_go_on_where_they_ended():
    stream = StreamOrder(targets=99, batch_size=7, sequence_length=4)
    for step in range(stream.steps_per_epoch - 1):
        _, end, _ = rows_at(stream, step)
        start, _, reset = rows_at(stream, step + 1)
        went_on = start < np.minimum((np.arange(7) + 1) * stream.stream_length, 99)
        assert (start == end)[went_on].all()
        assert not reset.any()
    window = WindowOrder(99, 7, 4, seed=3)
    assert (rows_at(window, 0)[1] != rows_at(window, 1)[0]).any()  # windows don't


def test_each_epoch_and_seed_has_its_own_order_of_windows():
    window = WindowOrder(targets=999, batch_size=7, sequence_length=5, seed=3)

    def epoch(order, number):
        steps = range(number * order.steps_per_epoch, (number + 1) * order.steps_per_epoch)
        return np.concatenate([rows_at(order, step)[0] for step in steps])[: order.count]

    first, second = epoch(window, 0), epoch(window, 1)
    others = [second, epoch(window, 2), epoch(dataclasses.replace(window, seed=4), 0)]
    for other in others:
        assert len(set(other)) == window.count
        assert np.mean(other // 5 == first // 5) < 0.1
    assert sorted(others[2]) == sorted(first)
    assert set(first % 5) == {0, 4} and len(set(second % 5) - {0, 4}) == 1  # 0 and 999 are clipped
    assert (epoch(window, 0) == first).all()
    # Windows that lie side by side are not read side by side.
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.3


@pytest.mark.parametrize("order", orders((99, 7, 5)), ids=lambda order: type(order).__name__)
def test_a_step_is_a_pure_function(order):
    forwards = [rows_at(order, step) for step in range(20)]
    for step in reversed(range(20)):
        for again, before in zip(rows_at(order, step), forwards[step]):
            np.testing.assert_array_equal(again, before)
    compiled = tf.function(lambda step, row: vars(order.rows(step, row)))
    row = tf.range(7, dtype=tf.int64)
    for step in (0, 3, 19):
        found = compiled(tf.constant(step, tf.int64), row)
        for name, before in zip(("start", "end", "reset"), forwards[step]):
            np.testing.assert_array_equal(found[name], before)
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("order", orders((99, 8, 5)), ids=lambda order: type(order).__name__)
def test_rows_can_be_asked_for_in_any_parts(order):
    for step in (0, 1, 5):
        whole = rows_at(order, step)
        for parts in ([range(0, 4), range(4, 8)], [range(0, 3), range(3, 8)], [[row] for row in range(8)]):
            asked = [rows_at(order, step, list(part)) for part in parts]
            for pieces, all_rows in zip(zip(*asked), whole):
                np.testing.assert_array_equal(np.concatenate(pieces), all_rows)


def is_permutation(places):
    return np.array_equal(np.sort(places), np.arange(len(places)))


def shuffle(size, seed, epoch):
    return shuffled(tf.range(size, dtype=tf.int64), size, seed, tf.constant(epoch, tf.int64)).numpy()


EDGES = [2**16, 2**17, 2**18]


@pytest.mark.parametrize(
    "size", [*range(1, 20), 63, 64, 65, 99, 4096, 4097, *(e + d for e in EDGES for d in (-1, 0, 1, 2))]
)
def test_a_shuffle_is_a_permutation(size):
    assert is_permutation(shuffle(size, seed=3, epoch=5))


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 0), (0, 1), (2**31 - 1, 99)])
def test_a_shuffle_is_a_permutation_for_every_seed(seed, epoch):
    assert is_permutation(shuffle(2**16 + 1, seed, epoch))


@pytest.mark.parametrize("largest", [2**16, 2**18])
def test_the_plain_shuffle_of_tensorflow_is_none(largest):
    """The control, and the reason for the detour; when this fails, the detour is needed no more."""
    index = tf.range(largest + 1, dtype=tf.int64)
    key = tf.constant([3, 5], tf.int64)
    plain = tf.random.experimental.index_shuffle(index, key, tf.constant(largest, tf.int64)).numpy()
    assert not is_permutation(plain)
    assert len(np.unique(plain)) == largest  # one comes twice


def test_a_shuffle_inside_of_a_dataset():
    size = 2**16 + 1
    index = tf.data.Dataset.range(0, size).batch(9973)
    epoch = tf.constant(5, tf.int64)
    pieces = list(index.map(lambda part: shuffled(part, size, 3, epoch)).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate(pieces), shuffle(size, 3, 5))


def test_build():
    assert build("stream", 99, 7, 5, 3, 0.25) == StreamOrder(99, 7, 5, 3, 0.25)
    assert build("window", 99, 7, 5, 3) == WindowOrder(99, 7, 5, 3)


def test_streams_begin_anew_at_random_places():
    """About as often as asked, the same for any part of the rows, other places at other steps; never if not
    asked.
    """
    order = StreamOrder(13 * 7 * 99, 13, 7, seed=5, state_reset=0.3)
    every = tf.range(13, dtype=tf.int64)
    steps = [tf.constant(step, tf.int64) for step in range(1, 99)]
    resets = np.array([order.rows(step, every).reset.numpy() for step in steps])
    assert 0.25 < resets.mean() < 0.35
    assert len({tuple(row) for row in resets}) > 90
    np.testing.assert_array_equal(order.rows(steps[2], every[4:9]).reset, resets[2, 4:9])
    never = StreamOrder(13 * 7 * 99, 13, 7, seed=5)
    assert not any(never.rows(step, every).reset.numpy().any() for step in steps)


def test_rows_that_start_anew_begin_a_document_where_there_are_few():
    for documents, few in ((1, True), (11, True), (12, False), (999, False)):
        order = build("stream", 99, 12, 5, 3, 0.1, documents)
        assert order.resets_begin_documents is few
    assert not build("window", 99, 12, 5, 3).resets_begin_documents
