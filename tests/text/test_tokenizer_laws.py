"""Laws of every tokenizer, each with a broken tokenizer that the law's check must refuse."""

import random

import numpy as np
import pytest

from lm_keras.errors import InputError
from lm_keras.text import (
    ByteTokenizer,
    SentencePieceTokenizer,
    WordTokenizer,
    normalize,
    train_tokenizer,
)

ENGLISH = "The quick brown fox doesn't jump.\n\tIt waits  for   the dog; the dog waits too.\r\n"
GERMAN = "Über die Straße läuft ein Fuchs, größer als die übrigen Füchse.\n"
CHINESE = "床前明月光,疑是地上霜。舉頭望明月,低頭思故鄉。\n"
CORPUS = [ENGLISH * 3, GERMAN * 3, CHINESE * 3]
TEXTS = [
    ENGLISH,
    GERMAN,
    CHINESE,
    "",
    "\n",
    "\n\n  \n",
    " leading and trailing ",
    "\0\x01 \x7f\x85\u2028",
    "\u2581 \u2581\u2581a\u2581\n\u2581",
    "\u2585eod \u2585unk \u2585newline",
    "<eod> <unk> <s> </s> <pad> <0x0A> <0xE2>",
    "e\u0301 o\u0323\u0302 \u1100\u1161\u11a8 \ufb01",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "\ufeff\ufffd\uffff\U0010ffff\ue000",
]


def random_text(seed: int, length: int = 41) -> str:
    """Draw from all scalar values, the first 256, combining marks, and characters that cause trouble."""
    draw = random.Random(seed)
    ranges = [(0, 0xD7FF), (0xE000, 0x10FFFF), (0, 0xFF), (0x300, 0x36F)]
    trouble = ["\0", "\n", " ", "\u2581", "\u2585", "\u200d", "\ufffd", "\t", "▁\n", "  "]
    return "".join(
        chr(draw.randint(*draw.choice(ranges))) if draw.random() < 0.8 else draw.choice(trouble)
        for _ in range(length)
    )


def check_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == tokenizer.canonical(text)
    if tokenizer.lossless:
        assert tokenizer.canonical(text) == tokenizer.normalize(text)


def check_same_tokens(tokenizer, text):
    assert tokenizer.canonical(tokenizer.canonical(text)) == tokenizer.canonical(text)
    assert tokenizer.encode(tokenizer.canonical(text)) == tokenizer.encode(text)


def check_pieces(tokenizer, first, second):
    assert first.endswith("\n")
    assert tokenizer.encode(first + second) == tokenizer.encode(first) + tokenizer.encode(second)


def check_decoder(tokenizer, text):
    ids = tokenizer.encode(text)
    decoder = tokenizer.decoder()
    parts = [decoder.push([token]) for token in ids]
    assert "".join(parts) + decoder.finish() == tokenizer.decode(ids)
    for part in parts:
        assert "\ufffd" not in part or "\ufffd" in text


def unknown_text(tokenizer):
    """What an unknown token is read as."""
    return "<unk>" if tokenizer.name == "word" else "\ufffd"


def _sentencepiece(model_type, normalization, vocab_size=347):
    return train_tokenizer(
        "sentencepiece",
        CORPUS,
        vocab_size=vocab_size,
        normalization=normalization,
        model_type=model_type,
        character_coverage=0.98,
    )


MAKERS = {
    "bpe": lambda: _sentencepiece("bpe", "none"),
    "unigram": lambda: _sentencepiece("unigram", "none", 317),
    "bpe-nfkc": lambda: _sentencepiece("bpe", "nfkc"),
    "char": lambda: train_tokenizer("char", [*CORPUS, *TEXTS]),
    "char-nfd": lambda: train_tokenizer("char", [*CORPUS, *TEXTS], normalization="nfd"),
    "byte": lambda: ByteTokenizer("none"),
    "byte-nfkc": lambda: ByteTokenizer("nfkc"),
    "word": lambda: train_tokenizer("word", [*CORPUS, *TEXTS]),
    "byte-blank": lambda: ByteTokenizer("none").with_mask(),
    "word-blank": lambda: train_tokenizer("word", [*CORPUS, *TEXTS]).with_mask(),
    "word-nfd": lambda: train_tokenizer("word", [*CORPUS, *TEXTS], normalization="nfd"),
    "no-fallback": lambda: train_tokenizer(
        "sentencepiece", CORPUS, vocab_size=151, normalization="none", byte_fallback=False
    ),
}


@pytest.fixture(scope="module", params=list(MAKERS))
def tokenizer(request):
    return MAKERS[request.param]()


def test_attributes(tokenizer):
    assert tokenizer.eod_id == 0
    assert tokenizer.token_bytes(0) == b""
    assert isinstance(tokenizer.vocab_size, int)
    assert tokenizer.lossless == (tokenizer.unknown_id is None)
    if tokenizer.unknown_id is not None:
        assert tokenizer.token_bytes(tokenizer.unknown_id) == unknown_text(tokenizer).encode()
    assert tokenizer.settings()["vocab_size"] == tokenizer.vocab_size - tokenizer.reserves_mask
    assert tokenizer.settings()["normalize"] == tokenizer.normalization


def test_round_trip_where_it_is_claimed(tokenizer):
    texts = TEXTS + [random_text(seed) for seed in range(300)]
    for text in texts:
        ids = tokenizer.encode_array(text)
        if not tokenizer.count_unknown(text, ids):
            check_round_trip(tokenizer, text)
        else:
            assert not tokenizer.lossless
            assert unknown_text(tokenizer) in tokenizer.decode(ids)
        check_same_tokens(tokenizer, text)


@pytest.mark.parametrize("name", ["bpe", "unigram", "bpe-nfkc", "byte", "byte-nfkc"])
def test_every_scalar_value_survives(name):
    tokenizer = MAKERS[name]()
    assert tokenizer.lossless
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    random.Random(5).shuffle(codes)
    every = "".join(map(chr, codes))
    for start in range(0, len(every), 300_007):
        check_round_trip(tokenizer, every[start : start + 300_007])


def test_pieces_encode_like_the_whole(tokenizer):
    for seed in range(50):
        check_pieces(tokenizer, random_text(seed) + "\n", random_text(seed + 1000))
    check_pieces(tokenizer, GERMAN + "\n", "\u0301" + CHINESE)


def test_incremental_decoder(tokenizer):
    for text in [*TEXTS, *(random_text(seed) for seed in range(50))]:
        if not tokenizer.count_unknown(text, tokenizer.encode_array(text)):
            check_decoder(tokenizer, text)


def test_a_prompt_is_the_beginning_of_a_text(tokenizer):
    for text in [*TEXTS, *(random_text(seed) for seed in range(50))]:
        ids = tokenizer.encode(text)
        prompt = tokenizer.encode_prompt(text)
        assert ids[: len(prompt)] == prompt
        assert tokenizer.encode_prompt(text + "\n") == tokenizer.encode(text + "\n")


def test_ids_are_in_range_and_never_control_ids(tokenizer):
    for text in [*TEXTS, *(random_text(seed) for seed in range(50))]:
        ids = tokenizer.encode_array(text)
        assert ids.dtype == np.int32
        assert ids.ndim == 1
        assert ids.tolist() == tokenizer.encode(text)
        if len(ids):
            assert ids.min() >= 0
            assert ids.max() < tokenizer.vocab_size
            assert tokenizer.eod_id not in ids
            assert tokenizer.mask_id == tokenizer.unknown_id or tokenizer.mask_id not in ids


def test_labels_are_printable(tokenizer):
    labels = [tokenizer.label(token) for token in range(tokenizer.vocab_size)]
    assert all(label and label.isprintable() and " " not in label for label in labels)
    assert labels[0] == "<eod>"
    assert "\\n" in labels


def test_encode_normalizes(tokenizer):
    text = "Ko\u0308ln \ufb01"
    assert tokenizer.encode(text) == tokenizer.encode(tokenizer.normalize(text))
    assert tokenizer.normalize(text) == normalize(text, tokenizer.normalization)


def test_a_tokenizer_with_a_blank_is_the_same_but_for_that(tokenizer):
    made = tokenizer.with_mask()
    assert made.with_mask() is made
    assert made.reserves_mask == (tokenizer.name in ("byte", "word"))
    if made.reserves_mask:
        assert made.mask_id == made.vocab_size - 1
        assert made.label(made.mask_id) == "<blank>"
    parts = made.decode([2, made.mask_id, 3]).split("\ufffd")
    assert [part.strip(" ") for part in parts] == [made.decode([token]).strip(" ") for token in (2, 3)]
    assert tokenizer.mask_id in (None, made.mask_id)  # as it was
    for text in TEXTS:
        assert made.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("token", [-1, 100_000])
def test_id_out_of_range(tokenizer, token):
    with pytest.raises(InputError) as caught:
        tokenizer.decode([0, token])
    largest = tokenizer.vocab_size - 1
    assert str(caught.value) == f"token id {token} is out of range: expected 0 to {largest}"


def test_lone_surrogate(tokenizer):
    with pytest.raises(InputError) as caught:
        tokenizer.encode("ab\udc80")
    assert str(caught.value).startswith("the text has a lone surrogate U+DC80 at character 2: expected")


class _LosesTheMark(SentencePieceTokenizer):
    def _encode(self, text):
        return super()._encode(text.replace("\u2581", " "))


class _AddsAPrefix(SentencePieceTokenizer):
    def _encode(self, text):
        return super()._encode(" " + text)


class _DecodesByToken(SentencePieceTokenizer):
    def decoder(self):
        class Decoder:
            def push(_, ids):
                return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

            def finish(_):
                return ""

        return Decoder()


class _CutsWords(ByteTokenizer):
    def _encode(self, text):
        return super()._encode(text)[:-1]


class _LosesBlankLines(WordTokenizer):
    def _encode(self, text):
        return super()._encode("\n".join(line for line in text.split("\n") if line))


class _EndsNoLine(WordTokenizer):
    def canonical(self, text):
        return " ".join(self.normalize(text).split())


PLAIN = {"vocab_size": None, "normalization": "none"}


def test_the_checks_can_fail():
    for broken in (_CutsWords("none"), _LosesBlankLines.train(CORPUS, PLAIN)):
        with pytest.raises(AssertionError):
            check_round_trip(broken, ENGLISH + "\n" + GERMAN)
    with pytest.raises(AssertionError):
        check_same_tokens(_EndsNoLine.train(CORPUS, PLAIN), ENGLISH + GERMAN)
    train = {
        **PLAIN,
        "vocab_size": 347,
        "model_type": "bpe",
        "byte_fallback": True,
        "character_coverage": 0.98,
    }
    with pytest.raises(AssertionError):
        check_round_trip(_LosesTheMark.train(CORPUS, train), TEXTS[8])
    with pytest.raises(AssertionError):
        check_pieces(_AddsAPrefix.train(CORPUS, train), GERMAN, CHINESE)
    with pytest.raises(AssertionError):
        check_decoder(_DecodesByToken.train(CORPUS, train), "👍")
