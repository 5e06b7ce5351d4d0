"""Words become tokens, each by itself, and none is lost."""

import numpy as np
import pytest

from lm_keras.data.words import WordEncoder
from lm_keras.text import train_tokenizer
from lm_keras.text.wordpiece import WordPieceTokenizer

TEXT = "EU rejects German call to boycott British lamb .\n" * 20
SETTINGS = {"vocab_size": None, "normalization": "none", "model_type": "bpe", "byte_fallback": True}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "eu", "re", "##jects", "german", "."]


def tokenizers():
    for name in ("char", "byte", "word"):
        yield name, train_tokenizer(name, [TEXT], **SETTINGS)
    yield "sentencepiece", train_tokenizer("sentencepiece", [TEXT], **{**SETTINGS, "vocab_size": 290})
    yield "wordpiece", WordPieceTokenizer.of_vocabulary("\n".join(VOCABULARY).encode())


TOKENIZERS = dict(tokenizers())


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


def test_each_word_begins_at_a_token_of_its_own(tokenizer):
    words = ["EU", "rejects", ".", "German", "EU"]
    tokens, firsts = WordEncoder(tokenizer)(words)
    assert tokens.dtype == np.int32 and firsts.dtype == np.int64 and len(firsts) == len(words)
    assert (np.diff(firsts) > 0).all() and firsts[-1] < len(tokens)
    ends = [*firsts[1:], len(tokens)]
    for word, first, end in zip(words, firsts, ends):
        said = tokenizer.decode(tokens[first:end].tolist()).strip()
        assert said.replace(" ", "") in (word, word.lower())
    # The same word is the same tokens wherever it stands.
    last = tokens[firsts[-1] :]
    assert np.array_equal(last, tokens[firsts[0] :][: len(last)])


def test_a_word_begins_behind_its_space():
    tokenizer = TOKENIZERS["char"]
    tokens, firsts = WordEncoder(tokenizer)(["EU", "."])
    assert tokenizer.decode(tokens.tolist()) == " EU ." and firsts.tolist() == [1, 4]


def test_a_word_without_tokens_gets_one():
    encoder = WordEncoder(TOKENIZERS["wordpiece"])
    tokens, firsts = encoder(["eu", "\u200b", "."])
    assert tokens.tolist() == [5, 1, 9] and firsts.tolist() == [0, 1, 2]
    assert encoder.nothing == 1 and [encoder.is_empty(word) for word in ("eu", "\u200b", ".")] == [0, 1, 0]


def test_no_words():
    tokens, firsts = WordEncoder(TOKENIZERS["byte"])([])
    assert len(tokens) == len(firsts) == 0
