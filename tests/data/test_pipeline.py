import doctest
import itertools

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.data import pipeline
from lm_keras.data.order import StreamOrder, WindowOrder
from lm_keras.data.pipeline import gather, next_tokens, training_batches
from lm_keras.data.store import TextCounts, TokenStore

TOKENS = np.random.default_rng(4).integers(0, 2**16, 100).astype(np.uint16)  # n = 99 targets
ORDERS = {"stream": StreamOrder(99, 12, 5), "window": WindowOrder(99, 12, 5, seed=3)}


def dataset_of(tokens, order, first_step, last_step, unscored=None, **replicas):
    count = len(tokens) - 1
    store = TokenStore(tokens, np.array([1]), TextCounts(count, count, count, count), unscored)
    return training_batches(
        lambda rows, step: next_tokens(store, rows), order, first_step, last_step, **replicas
    )


def batches(tokens, order, first_step, last_step, **how):
    """All elements as flat lists of arrays: tokens, reset, targets, weights."""
    dataset = dataset_of(tokens, order, first_step, last_step, **how)
    return [
        [inputs["tokens"], inputs["reset"], targets, weights]
        for inputs, targets, weights in dataset.as_numpy_iterator()
    ]


def equal(ours, theirs):
    pairs = zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_the_example_in_the_docstring():
    (first,) = batches(np.arange(14), StreamOrder(13, 3, 2), 0, 1)
    assert [part.tolist() for part in first] == [
        [[0, 1], [0, 6], [0, 11]],
        [True, True, True],
        [[1, 2], [6, 7], [11, 12]],
        [[1, 1], [1, 1], [1, 1]],
    ]


@pytest.mark.parametrize("order", [StreamOrder(13, 3, 2), WindowOrder(13, 3, 2, seed=3)])
def test_a_token_that_is_never_a_target(order):
    steps = order.steps_per_epoch
    whole, without = (batches(np.arange(14), order, 0, steps, **how) for how in ({}, {"unscored": 6}))
    for (*parts, weights), (*others, less) in zip(whole, without, strict=True):
        assert equal([parts], [others])
        assert (less == weights * (parts[2] != 6)).all()
    assert sum(weights.sum() for *_, weights in whole) - sum(less.sum() for *_, less in without) == 1


def test_the_rest_of_that_epoch():
    """What the streams lack at their ends has weight 0; what stands there is no matter."""
    _, second, third = batches(np.arange(14), StreamOrder(13, 3, 2), 0, 3)
    assert second[3].tolist() == [[1, 1], [1, 1], [1, 0]]
    assert third[3].tolist() == [[1, 0], [1, 0], [0, 0]]
    assert (second[0][0].tolist(), second[2][0].tolist()) == ([2, 3], [3, 4])
    assert (third[0][1][0], third[2][1][0]) == (9, 10)
    assert not second[1].any() and not third[1].any()


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_types_and_shapes(name, dtype):
    dataset = dataset_of(TOKENS.astype(dtype), ORDERS[name], 0, 7)
    assert dataset.element_spec == (
        {
            "tokens": tf.TensorSpec([12, 5], tf.int32),
            "reset": tf.TensorSpec([12], tf.bool),
            "document": tf.TensorSpec([12, 5], tf.int32),
        },
        tf.TensorSpec([12, 5], tf.int32),
        tf.TensorSpec([12, 5], tf.float32),
    )
    assert len(dataset) == 7
    assert len(list(dataset)) == 7


@pytest.mark.parametrize("sizes", [(99, 12, 5), (98, 3, 7), (5, 7, 3), (1, 2, 13), (64, 8, 8)])
@pytest.mark.parametrize("kind", ORDERS)
def test_every_target_once_and_after_its_input(kind, sizes):
    """The store counts up, so that a token tells its place."""
    order = StreamOrder(*sizes) if kind == "stream" else WindowOrder(*sizes, seed=3)
    for epoch in (0, 2):
        first = epoch * order.steps_per_epoch
        seen = []
        for tokens, reset, targets, weights in batches(
            np.arange(sizes[0] + 1), order, first, first + order.steps_per_epoch
        ):
            if kind == "stream":  # What begins anew begins with the end of a document.
                assert (tokens[reset, 0] == 0).all()
                tokens = tokens.copy()
                tokens[reset, 0] = targets[reset, 0] - 1
            assert set(np.unique(weights)) <= {0, 1}
            counted = weights == 1
            np.testing.assert_array_equal(targets[counted], tokens[counted] + 1)
            # What comes before in the row is what comes before in the text.
            np.testing.assert_array_equal(targets[:, :-1], tokens[:, 1:])
            seen += targets[counted].tolist()
        assert sorted(seen) == list(range(1, sizes[0] + 1))


@pytest.mark.parametrize("name", ORDERS)
def test_starting_at_a_step_is_running_to_it(name):
    order = ORDERS[name]
    whole = batches(TOKENS, order, 0, 11)
    for step in (1, order.steps_per_epoch, 7):
        assert equal(batches(TOKENS, order, step, 11), whole[step:])
        assert not equal(batches(TOKENS, order, step - 1, 10), whole[step:])
    assert batches(TOKENS, order, 11, 11) == []


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize(("workers", "local"), [(1, 3), (1, 12), (2, 2), (3, 2)])
def test_every_split_into_replicas_gives_the_same_batch(name, workers, local):
    order, steps = ORDERS[name], 5
    whole = batches(TOKENS, order, 2, 2 + steps)
    elements = [
        batches(
            TOKENS,
            order,
            2,
            2 + steps,
            replicas=local,
            first_replica=worker * local,
            all_replicas=workers * local,
        )
        for worker in range(workers)
    ]

    def joined(deal):
        """Per step the global batch, made of the elements that `deal` gives to each replica."""
        return [
            [
                np.concatenate(parts)
                for parts in zip(
                    *(deal(worker, step, one) for worker in range(workers) for one in range(local))
                )
            ]
            for step in range(steps)
        ]

    assert equal(joined(lambda worker, step, one: elements[worker][step * local + one]), whole)
    # The control: replicas in another order give another batch.
    assert not equal(
        joined(lambda worker, step, one: elements[-1 - worker][(step + 1) * local - 1 - one]), whole
    )


def test_a_memory_map_is_read(tmp_path):
    path = tmp_path / "tokens"
    TOKENS.tofile(path)
    mapped = np.memmap(path, np.uint16, "r")
    assert equal(batches(mapped, ORDERS["window"], 3, 9), batches(TOKENS, ORDERS["window"], 3, 9))
    assert not equal(batches(mapped[::-1], ORDERS["window"], 3, 9), batches(TOKENS, ORDERS["window"], 3, 9))


def test_gather_copies_windows():
    windows = gather(TOKENS, np.array([0, 13, 94]), 5)
    assert (windows.dtype, windows.shape) == (np.int32, (3, 6))
    for window, start in zip(windows, (0, 13, 94)):
        np.testing.assert_array_equal(window, TOKENS[start : start + 6])


@pytest.mark.parametrize(
    ("tokens", "start", "length", "windows"),
    [
        ([10, 11, 12, 13], [0, 1], 2, [[10, 11, 12], [11, 12, 13]]),
        ([10, 11, 12, 13], [0, 2], 2, [[10, 11, 12], [12, 13, 13]]),
        ([10, 11, 12, 13], [3], 2, [[13, 13, 13]]),
        ([10, 11], [0, 1], 3, [[10, 11, 11, 11], [11, 11, 11, 11]]),
        ([10], [0], 2, [[10, 10, 10]]),
        ([10, 11, 12, 13], [], 2, []),
    ],
)
def test_gather_repeats_the_last_token_beyond_the_end(tokens, start, length, windows):
    assert gather(np.array(tokens, np.uint16), np.array(start, np.int64), length).tolist() == windows


def test_gather_does_not_mind_one_long_row_among_others():
    """One row beyond the end takes the whole batch over the slower way: the others stay as they were."""
    starts = np.array([0, 7, 94, 95, 99])
    windows = gather(TOKENS, starts, 5)
    np.testing.assert_array_equal(windows[:3], gather(TOKENS, starts[:3], 5))
    np.testing.assert_array_equal(windows[3], [*TOKENS[95:], TOKENS[99]])
    np.testing.assert_array_equal(windows[4], [TOKENS[99]] * 6)


def test_the_example_of_gather_runs():
    found = doctest.testmod(pipeline)
    assert found.attempted == 1
    assert found.failed == 0
