"""Which words are kept, paired and drawn."""

import re

import numpy as np
import pytest

from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.embeddings import batches
from lm_keras.embeddings.batches import Batches, Noise, WordVocabulary, kept_share
from lm_keras.embeddings.settings import EmbeddingConfig
from lm_keras.errors import InputError
from lm_keras.text.word import EOS_ID, UNKNOWN_ID, WordTokenizer

WORDS = 11
FIRST = 3


def store_of(documents):
    """Return a store: an end-of-document token first and between documents."""
    tokens = np.concatenate([[0, *document] for document in documents]).astype(np.uint16)
    begins = np.flatnonzero(tokens == 0) + 1
    return TokenStore(tokens, begins, TextCounts(len(tokens) - 1, 1, 1, 1, len(documents)))


@pytest.fixture
def tokenizer():
    return WordTokenizer([f"w{i}" for i in range(WORDS)], "none")


@pytest.fixture
def store():
    """40 documents of the words of their own: document d has only word d mod 11, lines of 4, and unknown
    words.
    """
    line = [1, 1, UNKNOWN_ID, 1, 1, EOS_ID]
    return store_of(
        [
            [FIRST + d % WORDS if token == 1 and i != 2 else token for i, token in enumerate(line * 9)]
            for d in range(40)
        ]
    )


def made(store, tokenizer, **settings):
    config = EmbeddingConfig(**{"subsample": 0.0, "batch_size": 3, "sequence_length": 50, **settings})
    vocabulary = WordVocabulary.of(tokenizer, store.frequencies(tokenizer.vocab_size), config)
    return Batches(store, vocabulary, config), vocabulary


def pairs_of(batch):
    """Yield the words of each pair of a batch."""
    around = (batch.near.shape[1] - batches.BLOCK) // 2
    for block, row in np.argwhere(batch.window > 0):
        place, reach = around + row, batch.window[block, row]
        for j in range(place - reach, place + reach + 1):
            if j != place and batch.part[block, j] == batch.part[block, place]:
                yield batch.near[block, place], batch.near[block, j]


def test_sub_sampling_keeps_what_the_paper_says():
    share = kept_share(np.array([9_900, 100, 0]), 1e-2)
    rarity = 1e-2 / 0.99
    np.testing.assert_allclose(share, [np.sqrt(rarity) + rarity, 1, 0], rtol=1e-6)
    assert share.round(3).tolist() == pytest.approx([0.111, 1, 0])
    assert kept_share(np.array([9_900, 100, 0]), 0).tolist() == [1, 1, 0]


def test_sub_sampling_happens(tokenizer):
    random = np.random.default_rng(1)
    store = store_of([FIRST + np.minimum(random.geometric(0.5, 5_000), WORDS) - 1])
    make, vocabulary = made(store, tokenizer, subsample=0.05, batch_size=10, sequence_length=100)
    kept = np.zeros(len(vocabulary.counts), int)
    for step in range(4 * make.steps_per_epoch):
        batch = make(step)
        middle = batch.near[:, 5 : 5 + batches.BLOCK]
        kept += np.bincount(middle[batch.window > 0], minlength=len(kept))
    expected = 4 * vocabulary.counts * vocabulary.keep
    np.testing.assert_allclose(kept[FIRST:8], expected[FIRST:8], rtol=0.06)
    assert expected[FIRST] < 0.5 * 4 * vocabulary.counts[FIRST]  # Or there would be nothing to see.


def test_negatives_are_drawn_in_proportion_to_counts_to_the_power_of_three_quarters():
    counts = np.array([0, 1, 10, 100, 0, 1000, 37])
    noise = counts**0.75 / (counts**0.75).sum()
    drawn = Noise(noise)(np.random.default_rng(1), (200, 1000))
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=7) / 200_000, noise, atol=0.004)
    assert not np.isin(drawn, [0, 4]).any()


def test_words_of_two_documents_are_never_paired(store, tokenizer):
    make, _ = made(store, tokenizer)
    pairs = [pair for step in range(make.steps_per_epoch) for pair in pairs_of(make(step))]
    assert len(pairs) > 3000
    assert all(one == other for one, other in pairs)
    # The control: where no token ends anything, they are.
    make._vocabulary.ends[:] = False
    assert any(one != other for step in range(make.steps_per_epoch) for one, other in pairs_of(make(step)))


def test_words_of_two_lines_are_paired_unless_one_asks(tokenizer):
    store = store_of([[3, 4, EOS_ID, 5, 6, EOS_ID] * 30])
    lines = {3: 0, 4: 0, 5: 1, 6: 1}
    for within, there in ((False, True), (True, False)):
        make, _ = made(store, tokenizer, within_lines=within)
        assert any(lines[a] != lines[b] for a, b in pairs_of(make(0))) is there


def test_every_word_comes_once_an_epoch(store, tokenizer):
    make, vocabulary = made(store, tokenizer)
    for epoch in (0, 1):
        found, words = np.zeros(len(vocabulary.counts), int), 0
        for step in range(epoch * make.steps_per_epoch, (epoch + 1) * make.steps_per_epoch):
            batch = make(step)
            found += np.bincount(batch.near[:, 5 : 5 + batches.BLOCK][batch.window > 0], minlength=len(found))
            words += batch.words
        np.testing.assert_array_equal(found, vocabulary.counts)
        assert words == store.counts.tokens
    assert not vocabulary.counts[:FIRST].any()


def test_windows_are_drawn_evenly_and_a_batch_depends_on_its_step_alone(store, tokenizer):
    make, _ = made(store, tokenizer, window=4)
    reach = np.concatenate([make(step).window.ravel() for step in range(2 * make.steps_per_epoch)])
    shares = np.bincount(reach[reach > 0], minlength=5)[1:] / np.count_nonzero(reach)
    np.testing.assert_allclose(shares, 0.25, atol=0.04)
    again, other = made(store, tokenizer, window=4)[0], made(store, tokenizer, window=4, seed=2)[0]
    for name in ("near", "part", "window", "drawn"):
        np.testing.assert_array_equal(getattr(again(3), name), getattr(make(3), name))
    assert not np.array_equal(other(3).drawn, make(3).drawn)
    assert not np.array_equal(make(4).drawn, make(3).drawn)


def test_rare_words_get_no_vector(tokenizer):
    store = store_of([[3] * 9 + [4] * 5 + [5] * 4])
    _, vocabulary = made(store, tokenizer)
    np.testing.assert_allclose(vocabulary.noise[3:5], np.array([9**0.75, 5**0.75]) / (9**0.75 + 5**0.75))
    assert vocabulary.counts[FIRST:6].tolist() == [9, 5, 0]
    assert vocabulary.noise[5] == vocabulary.keep[5] == 0
    with pytest.raises(InputError, match=re.escape("of 14 tokens 1 come at least --min_count=6 times")):
        made(store, tokenizer, min_count=6)
