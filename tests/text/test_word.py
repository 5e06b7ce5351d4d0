"""Words as the word-level benchmarks count them."""

import gzip
import json
import os
from pathlib import Path

import pytest

from lm_keras.errors import InputError
from lm_keras.text import WordTokenizer, train_tokenizer
from lm_keras.text import word as module

DATA = Path(os.environ.get("LM_KERAS_DATA", "/nonexistent"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LM_KERAS_DATA names no folder with the data sets")

TEXT = "the cat sees the dog\n\n the  <unk> sees\tthe cat \n"


@pytest.fixture
def tokenizer():
    return train_tokenizer("word", [TEXT])


def test_the_most_frequent_word_first_ties_by_code_points(tokenizer):
    assert tokenizer.words == ["the", "cat", "sees", "dog"]
    assert train_tokenizer("word", ["b é a B b 月\n"]).words == [
        "b",
        "B",
        "a",
        "é",
        "月",
    ]
    assert [tokenizer.label(token) for token in range(7)] == [
        "<eod>",
        "<unk>",
        "\\n",
        "the",
        "cat",
        "sees",
        "dog",
    ]


def test_one_end_of_line_a_line(tokenizer):
    assert tokenizer.encode(TEXT) == [3, 4, 5, 3, 6, 2, 2, 3, 1, 5, 3, 4, 2]
    for text, ids in {
        "": [],
        "\n": [2],
        " ": [2],
        "cat": [4, 2],
        "cat\n": [4, 2],
        "\ncat \n ": [2, 4, 2, 2],
    }.items():
        assert tokenizer.encode(text) == ids


def test_docstring_example():
    tokenizer = WordTokenizer(["the", "cat"], normalization="none")
    assert tokenizer.encode("the  cat\n\nthe dog") == [3, 4, 2, 2, 3, 1, 2]
    assert tokenizer.decode([3, 4, 2, 2, 3, 1, 2]) == "the cat\n\nthe <unk>\n"


def test_what_decode_gives_back(tokenizer):
    ids = tokenizer.encode(TEXT)
    expected = "the cat sees the dog\n\nthe <unk> sees the cat\n"
    assert tokenizer.decode(ids) == tokenizer.canonical(TEXT) == expected
    assert tokenizer.canonical("cat") == "cat\n"
    assert tokenizer.canonical("") == ""
    # Without its end of line, from the middle of a line, and over the end of a document.
    assert tokenizer.decode([4, 5]) == "cat sees"
    assert tokenizer.decode([4, 2, 0, 4, 5]) == "cat\ncat sees"


def test_other_line_ends_are_white_space(tokenizer):
    assert tokenizer.encode("the\r\ncat\x0bsees\u2028dog\x85the\n") == [3, 2, 4, 5, 6, 3, 2]


def test_the_word_unk_is_no_lost_text(tokenizer):
    def lost(text):
        return tokenizer.count_unknown(text, tokenizer.encode_array(text))

    assert tokenizer.encode("<unk> bird\n") == [1, 1, 2]
    assert [lost(text) for text in ("<unk> the <unk>\n", "<unk> bird\n", "bird <unk>bird\n", "cat\n")] == [
        0,
        1,
        2,
        0,
    ]
    assert "<unk>" not in tokenizer.words
    # Names of the other special tokens are words like any other.
    other = train_tokenizer("word", ["<eos> <eod> <eos>\n"])
    assert other.encode("<eos> <eod>\n") == [3, 4, 2]
    assert other.decode([3, 4, 2]) == "<eos> <eod>\n"


def test_a_limit_keeps_the_most_frequent(tokenizer):
    small = train_tokenizer("word", [TEXT], vocab_size=5)
    assert (small.words, small.vocab_size) == (["the", "cat"], 5)
    assert train_tokenizer("word", [TEXT], vocab_size=7).fingerprint() == tokenizer.fingerprint()
    assert train_tokenizer("word", [TEXT], vocab_size=10_000).fingerprint() == tokenizer.fingerprint()


@pytest.mark.parametrize("size", [3, 0, -7])
def test_impossible_sizes(size):
    with pytest.raises(InputError) as caught:
        train_tokenizer("word", [TEXT], vocab_size=size)
    assert str(caught.value) == (
        f"vocab_size is {size}: expected 4 or more, because <eod>, <unk> and <eos> count too"
    )


@pytest.mark.parametrize("texts", [[], ["\n \n"], ["<unk> <unk>\n"]])
def test_nothing_to_learn(texts):
    with pytest.raises(
        InputError, match="no text to train a tokenizer on: expected a corpus with at least one word"
    ):
        train_tokenizer("word", texts, vocab_size=None)


def test_pieces_count_like_the_whole():
    pieces = [f"{'a' * (number % 7)} b{number % 31}\n" for number in range(500)]
    assert (
        train_tokenizer("word", pieces).fingerprint()
        == train_tokenizer("word", ["".join(pieces)]).fingerprint()
    )


def test_normalization_before_counting():
    assert train_tokenizer("word", ["e\u0301 \u00e9 ﬁ\n"], normalization="nfkc").words == ["é", "fi"]


def test_rare_words_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNTED_WORDS", 50)
    pieces = [f"often often w{number} w{number + 1}\n" for number in range(0, 300, 2)]
    frequent = train_tokenizer("word", pieces, vocab_size=9)
    assert frequent.words[0] == "often"
    assert frequent.vocab_size == 9
    with pytest.raises(InputError) as caught:
        train_tokenizer("word", pieces)
    assert str(caught.value) == (
        "this corpus has more than 50 different words: set a vocab_size, such as 50000, or use the "
        "sentencepiece tokenizer"
    )


def test_a_continuation_begins_with_a_space_where_one_is_needed(tokenizer):
    for prompt, expected in [("", "cat dog"), ("the", " cat dog"), ("the ", "cat dog"), ("the\n", "cat dog")]:
        decoder = tokenizer.decoder(before=prompt)
        assert decoder.push([4]) + decoder.push([6]) + decoder.finish() == expected
    assert tokenizer.decoder(before="the").push([2, 4]) == "\ncat"
    for prompt, ids in {
        "": [],
        "the": [3],
        "the ": [3],
        "the\n": [3, 2],
        "the\n cat": [3, 2, 4],
        " ": [],
    }.items():
        assert tokenizer.encode_prompt(prompt) == ids


LINES = {
    "english": [
        "The quick brown fox jumps over the lazy dog .",
        "It waits for the dog , and the dog waits too .",
    ],
    "german": [
        "Der Fuchs läuft über die Straße .",
        "Donaudampfschifffahrt ist ein langes Wort , sagt der Fuchs .",
    ],
    "chinese": ["床前明月光,疑是地上霜。", "舉頭望明月,低頭思故鄉。"],
    "chinese with spaces": ["床 前 明月 光 , 疑 是 地上 霜 。", "舉 頭 望 明月 , 低 頭 思 故鄉 。"],
}


@pytest.mark.parametrize("language", LINES)
def test_text_without_spaces_is_noticed(language):
    tokenizer = train_tokenizer("word", [line + "\n" for line in LINES[language]])
    assert tokenizer.spaced == (language != "chinese")
    if language == "chinese":
        assert tokenizer.warning.endswith("use --tokenizer=char or --tokenizer=sentencepiece")
    else:
        assert tokenizer.warning is None


def test_short_words_that_never_come_again_are_noticed():
    words = [f"w{number}" for number in range(1000)]
    assert not train_tokenizer("word", [" ".join(words)]).spaced
    assert train_tokenizer("word", [" ".join(words[:999])]).spaced
    assert train_tokenizer("word", [" ".join(words + words)]).spaced


@needs_data
def test_the_published_counts_of_wikitext_2():
    folder = DATA / "wikitext-2"
    texts = {
        "train": gzip.decompress((folder / "train.txt.gz").read_bytes()).decode(),
        "valid": (folder / "valid.txt").read_bytes().decode(),
        "test": (folder / "test.txt").read_bytes().decode(),
    }
    tokenizer = train_tokenizer("word", [texts["train"]])
    assert tokenizer.vocab_size == 33_278 + 1  # <eod>
    assert tokenizer.spaced
    for name, count in {"train": 2_088_628, "valid": 217_646, "test": 245_569}.items():
        ids = tokenizer.encode_array(texts[name])
        assert len(ids) == count
        assert tokenizer.count_unknown(texts[name], ids) == 0
        assert (ids == tokenizer.unknown_id).sum() == texts[name].split().count("<unk>") > 10_000
    assert tokenizer.decode(tokenizer.encode(texts["test"])) == tokenizer.canonical(texts["test"])


@needs_data
def test_languages_of_real_text():
    german = gzip.decompress((DATA / "multi30k" / "train.de.gz").read_bytes()).decode()
    english = (DATA / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    poems = json.loads((DATA / "chinese-poetry" / "poet.tang.1000.json").read_text(encoding="utf-8"))
    chinese = "".join(line + "\n" for poem in poems for line in poem["paragraphs"])
    for text, spaced in ((german, True), (english, True), (chinese, False)):
        tokenizer = train_tokenizer("word", [text], normalization="nfc")
        assert tokenizer.spaced == spaced
        assert tokenizer.decode(tokenizer.encode(text)) == tokenizer.canonical(text)
