import numpy as np
import pytest

from lm_keras.errors import InputError
from lm_keras.text import CharTokenizer, train_tokenizer

TEXT = "banana\nBär 月\n"


def test_vocabulary_is_sorted_by_code_point():
    tokenizer = train_tokenizer("char", [TEXT])
    assert tokenizer.characters == "\n Babnrä月"
    assert tokenizer.vocab_size == 11
    assert tokenizer.encode("Bä\n") == [4, 9, 2]
    assert [tokenizer.label(i) for i in (0, 1, 2, 3, 10)] == ["<eod>", "<unk>", "\\n", "␣", "月"]


def test_docstring_example():
    tokenizer = CharTokenizer("ab\n", normalization="none")
    assert tokenizer.encode("ba\nz") == [4, 3, 2, 1]
    assert tokenizer.decode([4, 3, 2, 1]) == "ba\n\ufffd"


def test_unknown_characters_below_between_and_above():
    tokenizer = CharTokenizer("bdä", "none")
    assert tokenizer.encode("abcdeä\U0010ffff\0") == [1, 2, 1, 3, 1, 4, 1, 1]


def test_most_frequent_characters_ties_by_code_point():
    tokenizer = train_tokenizer("char", ["cccc", "aab", "bd"], vocab_size=4)
    assert tokenizer.characters == "ac"  # a and b occur twice


def test_one_piece_or_many():
    pieces = [TEXT * 7, "", *TEXT.splitlines(keepends=True)]
    assert (
        train_tokenizer("char", pieces, normalization="nfd").characters
        == train_tokenizer("char", ["".join(pieces)], normalization="nfd").characters
    )


def test_normalization_before_counting():
    assert train_tokenizer("char", ["ä\n"], normalization="nfd").characters == "\na\u0308"


@pytest.mark.parametrize("size", [12, 2, 0, -5])
def test_impossible_size_names_the_possible_ones(size):
    with pytest.raises(InputError) as caught:
        train_tokenizer("char", [TEXT], vocab_size=size)
    assert str(caught.value) == (
        f"vocab_size is {size}, but this corpus has 9 different characters: expected 3 to 11 "
        "(with <eod> and <unk>); leave vocab_size out to keep every character"
    )


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_to_train_on(texts):
    with pytest.raises(InputError) as caught:
        train_tokenizer("char", texts, vocab_size=None)
    assert str(caught.value).startswith("no text to train a tokenizer on: expected a corpus")


def test_unknown_normalization_is_refused_before_reading():
    def texts():
        raise AssertionError("the corpus was read")
        yield

    with pytest.raises(InputError, match=r"unknown normalization 'NFC' .did you mean 'nfc'"):
        train_tokenizer("char", texts(), normalization="NFC")


def test_large_text():
    text = TEXT * 50_003
    tokenizer = train_tokenizer("char", [text])
    ids = tokenizer.encode_array(text)
    assert ids.shape == (len(text),)
    np.testing.assert_array_equal(ids[: len(TEXT)], ids[-len(TEXT) :])
    assert tokenizer.decode(ids[:1000]) == text[:1000]
