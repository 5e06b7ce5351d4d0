"""Packed rows and parts of long examples: pure functions of the lengths."""

import time

import numpy as np
import pytest

from lm_keras.data.examples import TOO_LONG, check_lengths, packed, parts_of
from lm_keras.errors import InputError


def rows_of(lengths, room, pool=1000):
    members, begins = packed(np.array(lengths), room, pool)
    return [members[a:b].tolist() for a, b in zip(begins, begins[1:])]


def test_the_longest_first_and_each_where_it_fits_best():
    assert rows_of([5, 3, 4, 2, 6], 8) == [[4, 3], [0, 1], [2]]
    assert rows_of([8, 8], 8) == [[0], [1]]
    assert rows_of([1] * 7, 3) == [[0, 1, 2], [3, 4, 5], [6]]


def slowly(lengths, room):
    """Best fit as it is defined: into the row with the least room that is enough."""
    rows = []
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        enough = [row for row in rows if room - row[0] >= lengths[number]]
        row = max(enough, key=lambda row: row[0], default=None)
        if row is None:
            rows.append(row := [0])
        row[0] += lengths[number]
    return sorted(row[0] for row in rows)


@pytest.mark.parametrize("room", [13, 64, 200])
def test_rows_are_as_full_as_best_fit_makes_them(room):
    lengths = np.random.default_rng(room).integers(1, room + 1, 321)
    rows = rows_of(lengths, room)
    assert sorted(sum(lengths[row]) for row in rows) == slowly(lengths.tolist(), room)
    assert sorted(number for row in rows for number in row) == list(range(321))
    assert max(sum(lengths[row]) for row in rows) <= room


def test_an_example_shares_a_row_with_others_of_its_pool():
    lengths = np.random.default_rng(5).integers(1, 30, 97)
    for row in rows_of(lengths, 64, pool=10):
        assert len({number // 10 for number in row}) == 1
    # The control: with a larger pool some do not.
    assert any(len({number // 10 for number in row}) > 1 for row in rows_of(lengths, 64, pool=97))


def test_little_is_padding():
    lengths = np.clip(np.random.default_rng(6).lognormal(2.9, 0.5, 6920), 2, 120).astype(int)
    _, begins = packed(lengths, 128)
    assert 1 - lengths.sum() / (128 * (len(begins) - 1)) < 0.02


def test_thirty_thousand_take_less_than_half_a_second():
    lengths = np.random.default_rng(7).integers(3, 60, 29_000)
    begin = time.process_time()
    packed(lengths, 128)
    assert time.process_time() - begin < 0.5


def test_nothing_and_what_does_not_fit():
    members, begins = packed(np.array([], int), 8)
    assert members.tolist() == [] and begins.tolist() == [0]
    for lengths in ([9], [0, 3]):
        with pytest.raises(ValueError, match="tokens for rows of 8"):
            packed(np.array(lengths), 8)


def test_cut_ends_and_beginnings():
    lengths = np.array([3, 9, 4])
    end = parts_of(lengths, 4, "cut_end")
    assert (end.begin.tolist(), end.end.tolist()) == ([0, 0, 0], [3, 4, 4])
    start = parts_of(lengths, 4, "cut_start")
    assert (start.begin.tolist(), start.end.tolist()) == ([0, 5, 0], [3, 9, 4])
    for parts in (end, start):
        assert parts.example.tolist() == [0, 1, 2] and parts.lengths.tolist() == [3, 4, 4]
        assert np.array_equal(parts.first, parts.begin) and np.array_equal(parts.last, parts.end)


def test_windows_as_the_docstring_says():
    parts = parts_of(np.array([3, 9]), 4, "windows")
    assert parts.begin.tolist() == [0, 0, 2, 4, 5] and parts.end.tolist() == [3, 4, 6, 8, 9]
    assert parts.first.tolist() == [0, 0, 3, 5, 6] and parts.last.tolist() == [3, 3, 5, 6, 9]


@pytest.mark.parametrize("room", [1, 2, 5, 16])
def test_windows_have_every_token_once(room):
    lengths = np.random.default_rng(room).integers(1, 70, 50)
    parts = parts_of(lengths, room, "windows")
    seen = [np.zeros(length, int) for length in lengths]
    for number, begin, end, first, last in zip(
        parts.example, parts.begin, parts.end, parts.first, parts.last
    ):
        assert 0 <= begin <= first <= last <= end <= lengths[number] and 0 < end - begin <= room
        seen[number][first:last] += 1
    assert all((each == 1).all() for each in seen)
    # The control: cut texts miss some.
    cut = parts_of(lengths, room, "cut_end")
    assert (cut.last - cut.first).sum() < lengths.sum()


def test_too_long_is_an_error_that_names_the_text():
    lengths, lines = np.array([3, 9, 12]), []

    def check(too_long):
        check_lengths("train", lengths, 8, too_long, "a.tsv:{}".format, lines.append)

    with pytest.raises(
        InputError, match=r"a\.tsv:1: 9 tokens, and a row has room for 8 .*2 of 3 .*a\.tsv:2, has 12"
    ):
        check("error")
    for too_long in set(TOO_LONG) - {"error"}:
        check(too_long)
    assert len(lines) == 3 and all(line.startswith("a.tsv:1: 9 tokens") for line in lines)
    check_lengths("train", lengths, 12, "error", str, lines.append)
    assert len(lines) == 3
    for around in (1, 2):  # The least length that is enough, whatever stands around an example.
        with pytest.raises(InputError, match=f"raise --sequence_length to {12 + around},"):
            check_lengths("train", lengths, 8, "error", str, lines.append, around)
    with pytest.raises(InputError, match="example 3 has 12 tokens"):
        parts_of(lengths, 8, "error")
