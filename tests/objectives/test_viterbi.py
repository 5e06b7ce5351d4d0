"""Constrained decoding against a search through all sequences of tags."""

import itertools

import numpy as np
import pytest

from lm_keras.objectives.viterbi import best_tags, has_spans

NAMES = ("B-loc", "B-per", "I-loc", "I-per", "O")


def is_whole(tags):
    """Tell whether every `I-TYPE` follows its own type."""
    before = ["O", *tags]
    return all(tag[0] != "I" or (prior != "O" and prior[2:] == tag[2:]) for prior, tag in zip(before, tags))


def score(log_probabilities, tags):
    return sum(row[tag] for row, tag in zip(log_probabilities, tags))


@pytest.mark.parametrize("seed", range(20))
def test_equals_a_search_through_all_sequences(seed):
    random = np.random.default_rng(seed)
    scores = np.log(random.dirichlet(np.ones(5), size=random.integers(1, 6)))
    found = best_tags(scores, NAMES)
    allowed = [
        tags
        for tags in itertools.product(range(5), repeat=len(scores))
        if is_whole([NAMES[tag] for tag in tags])
    ]
    assert is_whole([NAMES[tag] for tag in found])
    assert score(scores, found) == pytest.approx(max(score(scores, tags) for tags in allowed))


def test_the_cases_need_the_constraint():
    """The control: without it a third or more of such sentences has tags that are no spans."""
    random = np.random.default_rng(0)
    free = [np.argmax(random.dirichlet(np.ones(5), size=4), axis=1) for _ in range(100)]
    assert sum(not is_whole([NAMES[tag] for tag in tags]) for tags in free) > 33


def test_an_inside_tag_needs_its_own_type_before_it():
    scores = np.log(np.array([[0.05, 0.7, 0.05, 0.1, 0.1], [0.1, 0.1, 0.5, 0.2, 0.1]]))
    assert [NAMES[tag] for tag in best_tags(scores, NAMES)] == ["B-per", "I-per"]


def test_tags_without_spans_are_free():
    scores = np.log(np.array([[0.2, 0.8], [0.9, 0.1]]))
    assert best_tags(scores, ["NOUN", "VERB"]).tolist() == [1, 0]
    assert best_tags(scores, ["I-loc", "O"]).tolist() == [1, 0]  # Nothing can begin a span.
    assert best_tags(np.zeros([0, 5]), NAMES).tolist() == []


def test_tags_without_a_type():
    scores = np.log(np.array([[0.3, 0.6, 0.1], [0.1, 0.6, 0.3]]))
    assert best_tags(scores, ["B", "I", "O"]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(NAMES, True), (("B", "I"), True), (("O",), False), (("NN", "IN", "O"), False), (("Bad", "O"), False)],
)
def test_which_tags_mark_spans(names, expected):
    assert has_spans(names) == expected
