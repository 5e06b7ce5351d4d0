"""What held-out text shares with the training text."""

import random

import numpy as np
import pytest
from test_splits import Memory

from lm_keras.corpora import make_splits, passages
from lm_keras.corpora.passages import Passages, share_in


def of(*contents):
    sample = Passages()
    for number, content in enumerate(contents):
        sample.add(number, 0, content)
    return sample.table()


def random_lines(count, seed):
    draw = random.Random(seed)
    return [bytes(draw.choices(b"abcdefgh ", k=draw.randint(0, 60))) for _ in range(count)]


def test_passages_are_lines_with_their_places():
    hashes, numbers, offsets, sizes = of(b"ab\n\nlonger than eight\n", b"ab")
    assert (numbers.tolist(), offsets.tolist(), sizes.tolist()) == ([0, 0, 1], [0, 4, 0], [2, 17, 2])
    assert hashes[0] == hashes[2] != hashes[1]


def test_line_ends_of_windows_belong_to_no_passage():
    (hashes, _, offsets, sizes), (others, *_) = of(b"ab\r\n\r\nc\rd\r\nend\r"), of(b"ab\nc\rd\nend\n")
    assert (offsets.tolist(), sizes.tolist()) == ([0, 6, 11], [2, 3, 3])
    assert hashes.tolist() == others.tolist()


def test_all_lines_of_a_small_text_are_compared():
    learnt, other = random_lines(900, 1), random_lines(300, 2)
    both = other + learnt[:100]
    expected = sum(map(len, [line for line in both if line in set(learnt)])) / sum(map(len, both))
    (hashes, _, _, sizes), (learnt_hashes, *_) = of(b"\n".join(both)), of(b"\n".join(learnt))
    assert share_in(sizes, hashes, learnt_hashes) == expected > 0.1
    assert share_in(sizes, hashes, np.zeros(0, np.int64)) == 0
    assert share_in(sizes[:0], hashes[:0], learnt_hashes) is None


def test_equal_text_within_long_lines_is_found_wherever_it_stands():
    line = b"".join(random_lines(3000, 3))
    (hashes, _, _, sizes), (learnt, *_) = of(b"xyz " + line[20_001:60_000]), of(line)
    assert len(hashes) > 50
    assert share_in(sizes, hashes, learnt) > 0.97
    assert share_in(sizes, hashes, of(b"".join(random_lines(3000, 4)))[0]) < 0.001


def test_a_sample_of_many_passages_is_chosen_by_content(monkeypatch):
    monkeypatch.setattr(passages, "MOST_PASSAGES", 500)
    monkeypatch.setattr(passages, "BLOCK_BYTES", 5000)
    lines = [line for line in random_lines(9000, 5) if line]
    first, second = Passages(), Passages()
    for number, line in enumerate(lines):
        first.add(number, 0, line)
    for number, line in enumerate(lines[::-2]):  # the half of them, in another order
        second.add(number, 0, line)
    rate = max(first.rate, second.rate)
    first.thin(rate), second.thin(rate)
    (hashes, numbers, _, sizes), (others, *_) = first.table(), second.table()
    assert 200 < len(hashes) <= 500
    assert [len(lines[number]) for number in numbers] == sizes.tolist()
    assert set(others) <= set(hashes)
    assert abs(share_in(sizes, hashes, others) - 0.5) < 0.1


@pytest.mark.parametrize("distinct", [1, 3])
def test_many_copies_of_few_lines_need_no_more_memory(monkeypatch, distinct):
    monkeypatch.setattr(passages, "MOST_PASSAGES", 500)
    monkeypatch.setattr(passages, "BLOCK_BYTES", 5000)
    text = b"".join(b"the same line %d\n" % number for number in range(distinct)) * 4000
    hashes, _, _, sizes = of(*[text[at : at + 4500] for at in range(0, len(text), 4500)])
    assert len(hashes) <= 500
    assert set(of(b"the same line 0")[0]) <= set(hashes)
    assert sizes.sum() == 15 * 4000 * distinct


def splits(texts, **given):
    said = []
    return make_splits(Memory(texts), **given, say=said.append), said


def test_splits_tell_what_they_share_with_train():
    line = "a line of some length, {}\n".format
    cut, said = splits(
        ["".join(line(number % 90) for number in range(100))]
    )  # 90 lines, the first ones again
    assert (cut["valid"].in_train, cut["test"].in_train, cut["train"].in_train, said) == (1.0, 1.0, None, [])
    cut, _ = splits(["".join(map(line, range(100)))])
    assert cut["valid"].in_train == 0
    dealt, _ = splits([f"{line(number)}common\n" for number in range(100)])
    assert 0.1 < dealt["valid"].in_train < 0.5
    whole, _ = splits(["a\n"], fractions=(100, 0, 0))
    assert whole["train"].in_train is None


def test_given_text_that_was_learnt_is_named():
    texts = [f"document {number} of this collection\n" for number in range(30)]
    found, said = splits(
        texts, valid=Memory(["new\n", texts[3], texts[4]], "v"), test=Memory(["other\n"], "t")
    )
    assert said == [
        "v:1 is part of the training text, too (2 of 3 documents of v, 93.8% of its text): the validation "
        "loss is of text that "
        "was learnt; leave it out of one of both"
    ]  # fmt: skip
    assert found["test"].in_train == 0
    _, said = splits(["".join(texts)], test=Memory(["".join(texts[:20]) + "new\n"], "t"))
    assert (
        len(said) == 1
        and said[0].startswith("9")
        and "of the test text, t, is in the training text, too" in said[0]
    )
    assert splits(texts, valid=Memory(["new\n"]))[1] == []
