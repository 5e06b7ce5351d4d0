"""Tokenizers of other projects: what the library encodes and decodes, text that is lost, and long documents
in parts.
"""

import functools
import json
import random

import pytest
import tokenizers as library
import zoo

from lm_keras.errors import InputError
from lm_keras.text import load_tokenizer, long_documents
from lm_keras.text.huggingface import HuggingFaceTokenizer

STRINGS = [
    "", " ", "\n", "   ", "a", "The cat", " the  cat\n", "the cat sat", "Zoë 5 😀 the", "\r\n\r\n x",
    "it's 12 345!", "床前明月",
    "a\u0301e\u0308 ﬁ １２", "</s> <unk> [MASK] <s>", "the</s>the", "▁the ▁", "<0x41> <0xE2>",
    "xdog ran  né  the\n\nthey", "the<|user|> cat",
    "##the the##", "the</w> cat", "\u00a0\u2028\u3000a", "...... ,, n't do not", "a" * 150,
]  # fmt: skip
PIECES = [
    "The", " the", " cat", "\n", "\r\n", " ", "  ", "12", "345", "é", "e\u0301", "ß", "😀", "床前明月", ",",
    "it's", "dog ran", "\n\n", "x", "\t", "naïve",
    "</s>", "▁", "Z", "ﬁ",
]  # fmt: skip


@functools.cache
def made(name):
    return zoo.MAKERS[name]()


@functools.cache
def tokenizer(name):
    return HuggingFaceTokenizer(made(name).to_str().encode(), made(name).token_to_id("</s>"))


def random_text(seed, count=25):
    return "".join(random.Random(seed).choices(PIECES, k=count))


def texts():
    return [*STRINGS, *(random_text(seed) for seed in range(60))]


def says(name, ids):
    """What the library says, special tokens left out, with U+FFFD where something is unknown."""
    theirs, unknown = library_of(name)
    said = theirs.decode(ids)
    return said.replace(unknown, "\ufffd") if tokenizer(name).unknown_id in ids else said


@functools.cache
def library_of(name):
    """The library's tokenizer with its unknown token shown, and that token's name."""
    theirs = library.Tokenizer.from_str(made(name).to_str())
    content = json.loads(theirs.to_str())
    mine = tokenizer(name)
    if mine.unknown_id is None:
        return theirs, None
    unknown = theirs.id_to_token(mine.unknown_id)
    for token in content["added_tokens"]:
        if token["content"] == unknown:
            token["special"] = False
    return library.Tokenizer.from_str(json.dumps(content)), unknown


each = pytest.mark.parametrize("name", list(zoo.MAKERS))


@each
def test_tokens_are_those_of_the_library(name):
    theirs = library.Tokenizer.from_str(made(name).to_str())
    theirs.encode_special_tokens = True
    mine = tokenizer(name)
    for text in texts():
        ids = mine.encode(text)
        assert not {mine.eod_id, mine.begin_id} & set(ids)
        if not any(special in text for special in zoo.SPECIAL):
            assert ids == theirs.encode(text, add_special_tokens=False).ids, repr(text)


@each
def test_text_of_tokens_is_that_of_the_library(name):
    mine, draw = tokenizer(name), random.Random(3)
    special = {made(name).token_to_id(token) for token in zoo.SPECIAL}
    some = [token for token in range(mine.vocab_size) if token not in special]
    rows = [mine.encode(text) for text in texts()]
    if tokenizer(name)._chain.reads == "utf-8":  # Bytes in any order are no text.
        rows += [draw.choices(some, k=6) for _ in range(60)]
    for ids in rows:
        if name == "replaced" and mine.unknown_id in ids:
            continue  # Its decoder changes the name of the unknown token.
        said = says(name, ids)
        assert mine.decode(ids) == said, ids
        decoder = mine.decoder()
        assert "".join(decoder.push([token]) for token in ids) + decoder.finish() == said


@each
def test_what_is_lost_is_told(name):
    """Either a text comes back, or `canonical` says what came back; where anything is unknown, that is
    counted.
    """
    mine = tokenizer(name)
    for text in texts():
        ids = mine.encode_array(text)
        said = mine.canonical(text)
        assert said == mine.decode(ids.tolist())
        assert not mine.lossless or (said == text and not mine.count_unknown(text, ids))
        assert mine.count_unknown(text, ids) or "\ufffd" not in said


@each
def test_long_documents_have_the_tokens_of_the_whole(name, monkeypatch):
    for size, value in (("BLOCK", 600), ("OVERLAP", 300), ("MARGIN", 60), ("LARGEST", 600 * 16)):
        monkeypatch.setattr(long_documents, size, value)
    mine = tokenizer(name)
    for seed in range(4):
        text = random_text(seed, 1500)
        cuts = sorted(random.Random(seed).sample(range(len(text)), 9))
        given = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
        pieces = list(mine.pieces(given))
        ids = [token for piece in pieces for token in mine.encode(piece)]
        assert "".join(pieces) == text and len(pieces) > 3
        assert ids == mine.encode(text)
        assert "".join(map(mine.canonical, pieces)) == mine.canonical(text)


@pytest.mark.parametrize(
    "text", ["The cat sat on the mat, " * 400, "The cat\r\nsat on the mat.\r\n" * 300, "it's\n\n" * 900]
)
@pytest.mark.parametrize("name", ["gpt2", "llama3", "unigram"])
def test_memory_does_not_grow_with_a_line(name, text, monkeypatch):
    """GPT-2's documents are cut after line feeds; one without any such place is cut all the same."""
    for size, value in (("BLOCK", 600), ("OVERLAP", 300), ("MARGIN", 60)):
        monkeypatch.setattr(long_documents, size, value)
    mine, begun = tokenizer(name), "One\ntwo\n"
    whole = begun + text
    pieces = list(mine.pieces(whole[begin : begin + 500] for begin in range(0, len(whole), 500)))
    assert "".join(pieces) == whole and max(map(len, pieces)) < 1200
    assert [token for piece in pieces for token in mine.encode(piece)] == mine.encode(whole)


@each
def test_special_tokens_are_text(name):
    mine = tokenizer(name)
    special = {made(name).token_to_id(token) for token in zoo.SPECIAL} - {mine.unknown_id}
    for text in ("</s>", "a</s> <s>b", "the [MASK] </s>"):
        assert not special & set(mine.encode(text))


def test_the_check_of_long_documents_can_fail(monkeypatch):
    """Joined anywhere, blocks have a blank too many."""
    for size, value in (("BLOCK", 600), ("OVERLAP", 300), ("MARGIN", 0)):
        monkeypatch.setattr(long_documents, size, value)

    def anywhere(block, after, text, begin, margin):
        return begin, int((block.begins < begin).sum()), 0

    monkeypatch.setattr(long_documents, "_agreed", anywhere)
    mine, text = tokenizer("gpt2 prefix"), random_text(1, 1500)
    assert [t for piece in mine.pieces([text]) for t in mine.encode(piece)] != mine.encode(text)


def test_a_document_that_cannot_be_divided_is_refused(monkeypatch):
    """One word of a kind of tokenizer that looks at whole words; where the tokens come again, it can."""
    for size, value in (("BLOCK", 600), ("OVERLAP", 300), ("MARGIN", 60), ("LARGEST", 2400)):
        monkeypatch.setattr(long_documents, size, value)
    mine = tokenizer("words")
    assert "".join(mine.pieces(["the cat " * 200, "x" * 900])) == "the cat " * 200 + "x" * 900
    with pytest.raises(
        InputError, match="the tokens of a document of more than 2,400 characters depend on all of its text"
    ):
        list(mine.pieces(["x" * 3000]))
    blanks = " " * 3000
    assert "".join(mine.pieces([blanks, "cat"])) == f"{blanks}cat"


def test_a_saved_tokenizer_is_the_same(tmp_path):
    for name in zoo.MAKERS:
        mine = tokenizer(name)
        mine.save(tmp_path)
        again = load_tokenizer(tmp_path)
        assert again.fingerprint() == mine.fingerprint()
        assert again.canonical(random_text(7)) == mine.canonical(random_text(7))
        assert (again.unknown_id, again.mask_id, again.lossless) == (
            mine.unknown_id,
            mine.mask_id,
            mine.lossless,
        )


def test_a_blank_that_was_reserved_stays(tmp_path):
    """A run whose tokenizer had no unknown token, as it seemed, and so has a token more than that."""
    mine = tokenizer("unigram")
    assert mine.mask_id == mine.unknown_id
    reserved = mine._reserving_mask()
    reserved.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.vocab_size, again.mask_id) == (mine.vocab_size + 1, mine.vocab_size)
    assert again.decode([mine.vocab_size]) == "\ufffd"


@pytest.mark.parametrize(
    ("name", "before", "text", "said"),
    [
        ("llama", "the", "cat", " cat"), ("llama", "", "cat", "cat"), ("unigram", "the", "cat", " cat"),
        ("words", "the", "cat", " cat"), ("words", "the ", "cat", "cat"), ("words", "", "cat sat", "cat sat"),
        ("suffix", "the", "cat sat", " cat sat"), ("suffix", "the\n", "cat", "cat"),
        ("wordpiece", "the", "cat sat", " cat sat"),
    ],
)  # fmt: skip
def test_a_text_goes_on_behind_another(name, before, text, said):
    mine = tokenizer(name)
    decoder = mine.decoder(before)
    ids = mine.encode(text)
    assert "".join(decoder.push([token]) for token in ids) + decoder.finish() == said
