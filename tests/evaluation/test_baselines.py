"""Baselines against counts by hand."""

import numpy as np
import pytest

from lm_keras.data.example_rows import Texts
from lm_keras.evaluation import baselines as baselines_file
from lm_keras.evaluation.baselines import baselines


def classified(examples, labels):
    """Examples side by side with a separator, token 0, before each."""
    tokens = np.concatenate([[0, *example] for example in examples]).astype(np.uint16)
    ends = np.cumsum([len(example) + 1 for example in examples])
    begins = ends - [len(example) for example in examples]
    return Texts(tokens, begins, ends, labels=np.array(labels, np.int32))


def tagged(sentences):
    """Sentences of (tokens of a word, tag)."""
    tokens, tags, begins, ends = [], [], [], []
    for sentence in sentences:
        begins.append(len(tokens))
        for word, tag in sentence:
            tokens += word
            tags += [tag] + [-1] * (len(word) - 1)
        ends.append(len(tokens))
    return Texts(np.array(tokens), np.array(begins), np.array(ends), tags=np.array(tags, np.int32))


TRAIN = classified([[1, 2, 2], [2, 3], [3, 3, 1]], [0, 0, 1])
SPLIT = classified([[2, 2], [3, 3], []], [0, 1, -1])


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_naive_bayes_by_hand(monkeypatch, at_once):
    monkeypatch.setattr(baselines_file, "EXAMPLES_AT_ONCE", at_once)
    found = baselines(TRAIN, SPLIT, labels=2, vocab_size=4)
    prior = np.log([3 / 5, 2 / 5])
    # Of four tokens class 0 has the counts 0, 1, 3, 1, and class 1 has 0, 1, 0, 2; one more each.
    likely = np.log([[1 / 9, 2 / 9, 4 / 9, 2 / 9], [1 / 7, 2 / 7, 1 / 7, 3 / 7]])
    for number, example in enumerate([[2, 2], [3, 3], []]):
        scores = prior + likely[:, example].sum(1)
        expected = scores - np.logaddexp.reduce(scores)
        assert found["bag_of_words"][number] == pytest.approx(expected, abs=1e-5)
        assert found["majority"][number] == pytest.approx(prior, abs=1e-5)


def test_examples_without_a_label_teach_nothing():
    more = classified([[1, 2, 2], [2, 3], [3, 3, 1], [1, 1]], [0, 0, 1, -1])
    found, expected = (baselines(train, SPLIT, 2, 4)["bag_of_words"] for train in (more, TRAIN))
    assert found == pytest.approx(expected)


def test_tags_of_words():
    train = tagged([[([5, 6], 1), ([7], 0)], [([5, 6], 1), ([5], 0), ([8], -2)]])
    split = tagged([[([5, 6], 1), ([5], 0)], [([9], 0), ([8], 0)]])
    found = baselines(train, split, labels=2, vocab_size=10)
    prior = np.array([3 / 6, 3 / 6])
    expected = [prior + [0, 2], prior + [1, 0], prior, prior]
    for row, counts in zip(found["bag_of_words"], expected):
        assert np.exp(row) == pytest.approx(counts / counts.sum(), abs=1e-6)
    assert np.exp(found["majority"]) == pytest.approx(np.tile(prior, [4, 1]), abs=1e-6)
