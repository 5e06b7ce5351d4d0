"""Tokenizers in GGUF files, without the files."""

import json

import pytest
import tokenizers as library

from lm_keras.checkpoints.gguf import tokens
from lm_keras.errors import InputError
from lm_keras.text import train_tokenizer

TEXTS = [
    "Hello, world!\n\n  Two lines\tand 1234567 digits...", "it's we'll I'M\r\n  \n x", "äöü ß € 𝄞 漢字かな",
    "   ",
    "e\u0301 combining", "a\u00a0b\u2003c", "<|endoftext|><|im_start|>user", "", "'S 'T don't", "x" * 99,
]  # fmt: skip


def byte_level_tokenizer(pre):
    """A tokenizer of 410 tokens, the last ones without a name, with special and other added tokens."""
    rules = tokens.RULES[pre]
    made = library.Tokenizer(library.models.BPE(ignore_merges=rules.ignore_merges))
    content = json.loads(made.to_str()) | {
        "pre_tokenizer": rules.pre_tokenizer, "normalizer": rules.normalizer,
        "decoder": tokens.RULES["gpt-2"].pre_tokenizer,
    }  # fmt: skip
    made = library.Tokenizer.from_str(json.dumps(content))
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>", "<|im_start|>"],
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(TEXTS * 3, trainer)
    made.add_tokens(["<think>"])
    return tokens.HuggingFaceTokenizer(made.to_str().encode(), 0, 410)


@pytest.mark.parametrize("pre", tokens.RULES)
def test_tokens_of_byte_level_bpe(pre):
    """There and back it is the same tokenizer."""
    tokenizer = byte_level_tokenizer(pre)
    vocabulary = tokens.vocabulary_of(tokenizer, 410)
    assert (vocabulary.model, vocabulary.pre, len(vocabulary.texts)) == ("gpt2", pre, 410)
    assert vocabulary.types[:3] == [3, 3, 1] and vocabulary.types[-9:].count(tokens.UNUSED) == 9
    assert vocabulary.types[vocabulary.texts.index("<think>")] == tokens.USER_DEFINED
    again = tokens.byte_level(vocabulary, 0, 410)
    for text in [*TEXTS, "a <think> b", "1<think>2"]:
        assert again.encode(text) == tokenizer.encode(text), text
    assert len(tokenizer.encode("<think>")) == 1 < len(tokenizer.encode("<|im_start|>"))
    others = [
        tokens.byte_level(vocabulary._replace(pre=other), 0, 410) for other in tokens.RULES if other != pre
    ]
    assert any(
        other.encode(text) != tokenizer.encode(text) for text in TEXTS for other in others
    )  # The control.
    with pytest.raises(
        InputError, match="cuts texts as 'default' does, which is unknown here; known are gpt-2"
    ):
        tokens.byte_level(vocabulary._replace(pre="default"), 0, 410)


def test_tokens_of_sentencepiece(english, tmp_path):
    """What was trained here is, there and back, a model of sentencepiece with the same tokens."""
    tokenizer = train_tokenizer("sentencepiece", [english], vocab_size=300)
    vocabulary = tokens.vocabulary_of(tokenizer, 300)
    assert (
        vocabulary.model == "llama" and vocabulary.types[:4] == [3, 2, 4, 6] and vocabulary.texts[2] == "\n"
    )
    again = tokens.sentencepiece(vocabulary, 0, 0, 300)
    for text in [english[:500], *TEXTS]:
        assert again.encode(text) == tokenizer.encode(text), text
        assert again.decode(again.encode(text)) == text
    unigram = train_tokenizer("sentencepiece", [english], vocab_size=300, model_type="unigram")
    assert tokens.vocabulary_of(unigram, 300).model == "t5"
    assert (
        "does not spell in bytes what a unigram model lacks" in tokens.vocabulary_of(unigram, 300).remarks[0]
    )
    lossy = train_tokenizer("sentencepiece", [english], vocab_size=50, byte_fallback=False)
    with pytest.raises(InputError, match=r"llama\.cpp needs a sentencepiece model that spells"):
        tokens.vocabulary_of(lossy, 50)
    for kind in ("char", "byte", "word"):
        with pytest.raises(InputError, match=f"its {kind} tokenizer has no counterpart in GGUF"):
            tokens.vocabulary_of(train_tokenizer(kind, [english]), 10_000)
