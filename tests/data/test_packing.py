"""Rows of whole sentences."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_keras.data import packing
from lm_keras.data.packing import Sentences
from lm_keras.text import train_tokenizer
from lm_keras.text.byte import ByteTokenizer
from lm_keras.text.wordpiece import WordPieceTokenizer

TEXT = 'It is 3.5 m. "Why?" he said\nto me... (Yes.)\n\nAn end without one\n\n\nNext!'
SENTENCES = [
    "It is 3.5 m. ",
    '"Why?" ',
    "he said\nto me... ",
    "(Yes.)\n\n",
    "An end without one\n\n\n",
    "Next!",
]


def sentences_of(tokenizer, ids):
    last = Sentences.of(tokenizer).last_tokens(np.array(ids, np.uint16))
    ends = [0, *(np.flatnonzero(last) + 1)]
    return [tokenizer.decode(ids[a:b]) for a, b in itertools.pairwise(ends)]


def test_sentences_of_characters():
    tokenizer = train_tokenizer("char", [TEXT])
    assert sentences_of(tokenizer, tokenizer.encode(TEXT)) == SENTENCES


def test_sentences_of_sentencepiece():
    tokenizer = train_tokenizer(
        "sentencepiece",
        [f"{TEXT}\n" * 40],
        vocab_size=90,
        normalization="none",
        model_type="bpe",
        byte_fallback=False,
    )
    # A blank belongs to the word behind it.
    assert [sentence.strip() for sentence in sentences_of(tokenizer, tokenizer.encode(TEXT))] == [
        sentence.strip() for sentence in SENTENCES
    ]


def test_sentences_of_wordpiece_which_keeps_no_white_space():
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "it",
        "is",
        "so",
        ".",
        "!",
        "why",
        "?",
        "he",
        "##y",
        "3",
        "5",
    ]
    tokenizer = WordPieceTokenizer.of_vocabulary("\n".join(names).encode())
    found = sentences_of(tokenizer, tokenizer.encode("It is 3.5. Hey! Why? It is"))
    assert [sentence.replace(" ", "") for sentence in found] == ["itis3.5.", "hey!", "why?", "itis"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("一句。两句！「三句？」四。", ["一句。", "两句！", "「三句？」", "四。"]),
        (
            "End.\n        Next.\r\n\r\nHead\r\n\r\nLast",
            ["End.\n        ", "Next.\r\n\r\n", "Head\r\n\r\n", "Last"],
        ),
        ("  \n\n  a. B", ["  \n\n  ", "a. ", "B"]),
        ("a.b c.\nwrapped\nline", ["a.b c.\n", "wrapped\nline"]),
        ('He said: "No." "Yes." Then', ['He said: "No." ', '"Yes." ', "Then"]),
    ],
)
def test_sentences_of_other_texts(text, sentences):
    tokenizer = train_tokenizer("char", [text])
    assert sentences_of(tokenizer, tokenizer.encode(text)) == sentences


def test_one_token_may_be_an_empty_line():
    tokenizer = ByteTokenizer(normalization="none")
    kinds = np.arange(tokenizer.vocab_size)
    sentences = Sentences.of(tokenizer)
    two = dataclasses.replace(sentences, feeds=np.where(kinds == 70, 2, 0), white=kinds == 70)
    assert two.last_tokens(np.array([66, 70, 67, 68])).tolist() == [False, True, False, True]


def test_a_document_ends_a_sentence():
    tokenizer = train_tokenizer("char", ["abc."])
    ids = [*tokenizer.encode("ab"), tokenizer.eod_id, *tokenizer.encode("c")]
    last = Sentences.of(tokenizer).last_tokens(np.array(ids, np.uint16))
    assert last.tolist() == [False, False, True, True]


def numbered():
    """Sentences for which token 1 ends one, and 0 a document."""
    kinds = np.arange(8)
    none = kinds > 8
    return Sentences(kinds == 1, none, none, none, none, none.astype(int), kinds > 0, 0)


def sentences_with(lengths):
    return np.concatenate([[*[5] * (length - 1), 1] for length in lengths]).astype(np.uint16)


def test_the_rows_of_the_docstring():
    assert numbered().begins(sentences_with([3, 4, 2, 12]), 8).tolist() == [0, 7, 9, 17, 21]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 25), st.sampled_from([7, 64, 2**20])
)
def test_as_many_sentences_as_fit_whatever_the_blocks(lengths, most, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", block)
        found = numbered().begins(sentences_with(lengths), most).tolist()
    rows = np.diff(found)
    assert found[0] == 0 and found[-1] == sum(lengths) and (rows > 0).all() and (rows <= most).all()
    ends = np.cumsum(lengths).tolist()
    # A row that ends within a sentence is full of it; any other could not take the next sentence.
    for begin, end in itertools.pairwise(found):
        following = next((stop for stop in ends if stop > end), None)
        if end in ends:
            assert following is None or following - begin > most
        else:
            assert end - begin == most and not any(begin < stop <= end for stop in ends)
