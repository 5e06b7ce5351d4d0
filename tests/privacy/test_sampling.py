"""Poisson sampling: every unit with the same probability at every step, a pure function of (key, step)."""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.data.pipeline import next_tokens
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.privacy.sampling import SampledOrder, units_of

T, N, B = 4, 40, 6
KEY = bytes(range(16))


def store_of(lengths, eod=0):
    """A text of documents of some lengths, each made of tokens of its own, with an end token between."""
    parts = [[eod]]
    for number, length in enumerate(lengths):
        parts += [[number + 1] * length, [eod]] if number + 1 < len(lengths) else [[number + 1] * length]
    tokens = np.concatenate(parts).astype(np.uint16)
    begins = np.cumsum([1, *(length + 1 for length in lengths[:-1])])
    counts = TextCounts(len(tokens) - 1, len(tokens), 1, len(tokens), len(lengths))
    return TokenStore(tokens, begins, counts)


LENGTHS = [1 + 3 * k % 11 for k in range(N)]
STORE = store_of(LENGTHS)


def order_of(unit="document", expected=B, cap=N, key=KEY, store=STORE):
    return SampledOrder(units_of(store, unit, T), expected, cap, N, T, key)


def test_units_share_no_token_and_hold_all_targets():
    documents = units_of(STORE, "document", T)
    assert documents.lengths.tolist() == [length + 1 for length in LENGTHS[:-1]] + LENGTHS[-1:]
    for number, (start, length) in enumerate(zip(documents.starts, documents.lengths)):
        targets = STORE.tokens[start + 1 : start + 1 + length]
        assert set(targets.tolist()) <= {number + 1, 0} and STORE.tokens[start] == 0
    windows = units_of(store_of([10]), "window", 3)
    assert (windows.starts.tolist(), windows.lengths.tolist()) == ([0, 4, 8], [3, 3, 2])
    windows = units_of(STORE, "window", T)
    seen = np.concatenate([np.arange(a, a + n + 1) for a, n in zip(windows.starts, windows.lengths)])
    assert len(set(seen.tolist())) == len(seen)  # no token is in two windows


def steps_of(order, count):
    return [order.sample(step) for step in range(count)]


def test_every_unit_comes_with_the_same_probability_independent_of_others():
    """Inclusion is binomial for each unit, and so are sizes; pairs come as often as independence says."""
    count = 4_000
    order, seen = order_of(), np.zeros((count, N), bool)
    place = {int(start): k for k, start in enumerate(order.units.starts)}
    for step, (start, end) in enumerate(steps_of(order, count)):
        for a, b in zip(start, end):
            if b > a:
                number = max(k for first, k in place.items() if first <= a)
                assert not seen[step, number]
                seen[step, number] = True
    rate = B / N
    deviation = np.sqrt(rate * (1 - rate) / count)
    assert np.abs(seen.mean(0) - rate).max() < 4.5 * deviation
    sizes = seen.sum(1)
    assert sizes.mean() == pytest.approx(B, abs=4 * np.sqrt(N * rate * (1 - rate) / count))
    assert sizes.var() == pytest.approx(N * rate * (1 - rate), rel=0.1)
    together = seen.T.astype(float) @ seen / count
    np.fill_diagonal(together, rate**2)
    assert np.abs(together - rate**2).max() < 5.5 * np.sqrt(rate**2 / count)
    # The control: rows of a shuffled epoch, whose sizes do not vary.
    assert np.full(count, B).var() != pytest.approx(N * rate * (1 - rate), rel=0.1)


def test_a_pure_function_of_key_and_step():
    one, other = order_of(), order_of()
    for step in (7, 3, 10**9):
        assert all(map(np.array_equal, one.sample(step), other.sample(step)))
    assert not np.array_equal(one.sample(7)[0], one.sample(8)[0])
    assert not np.array_equal(one.sample(7)[0], order_of(key=KEY[::-1]).sample(7)[0])


def test_windows_of_a_document_reach_all_of_it_and_nothing_else():
    order = order_of(expected=N - 1)
    covered = {number: set() for number in range(N)}
    for start, end in steps_of(order, 300):
        for a, b in zip(start, end):
            if b == a:
                continue
            number = np.searchsorted(order.units.starts, a, "right") - 1
            first, length = order.units.starts[number], order.units.lengths[number]
            assert first <= a and b <= first + length and b - a == min(T, length)
            covered[number] |= set(range(a + 1, b + 1))
    for number, (first, length) in enumerate(zip(order.units.starts, order.units.lengths)):
        assert covered[number] == set(range(first + 1, first + length + 1))


def test_a_sample_beyond_the_cap_is_cut_to_a_random_part():
    cut = [(end > start).sum() for start, end in steps_of(order_of(cap=5), 300)]
    assert max(cut) == 5
    assert len(set(cut)) > 2
    first, last = [], []
    for start, end in steps_of(order_of(expected=N - 1, cap=5), 2_000):
        number = np.searchsorted(order_of().units.starts, start[end > start], "right") - 1
        first.append((number < N // 2).sum())
        last.append((number >= N // 2).sum())
    assert np.mean(first) == pytest.approx(np.mean(last), rel=0.1)


def test_the_rows_of_a_batch():
    """Empty rows have no target; each row reads one document alone; parts are those of the whole."""
    order = order_of()
    rows = order.rows(tf.constant(5, tf.int64), tf.range(N, dtype=tf.int64))
    batch = next_tokens(STORE, rows)
    taken = (rows.end > rows.start).numpy()
    assert taken.any() and not taken.all()
    weights, targets = batch.weights.numpy(), batch.targets.numpy()
    assert (weights.sum(1) > 0).tolist() == taken.tolist()
    for row in range(N):
        assert len(set(targets[row][weights[row] > 0]) - {0}) <= 1
    part = order.rows(tf.constant(5, tf.int64), tf.range(10, 20, dtype=tf.int64))
    assert np.array_equal(part.start, rows.start[10:20]) and np.array_equal(part.end, rows.end[10:20])
