"""The token store: written once, under a fingerprint of all that decides its content; counted right."""

import dataclasses
import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from lm_keras.config import DataConfig
from lm_keras.corpora import file_corpus, make_splits, open_corpus, text_files
from lm_keras.data import preparation
from lm_keras.data.cache import cache_folder
from lm_keras.data.preparation import prepare
from lm_keras.data.store import TextCounts, tokenized
from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import counts_of
from lm_keras.text import CharTokenizer, long_documents, train_tokenizer
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.tokenizer import Tokenizer


@pytest.fixture
def text(tmp_path):
    """A function that writes documents, one file each, and returns the settings that read them."""

    def write(*documents, **settings):
        folder = tmp_path / "text"
        folder.mkdir(exist_ok=True)
        for number, document in enumerate(documents):
            (folder / f"{number}.txt").write_bytes(
                document.encode() if isinstance(document, str) else document
            )
        settings = {"tokenizer": "char", "split": "100/0/0", "cache_dir": str(tmp_path / "cache"), **settings}
        return DataConfig(corpus=f"text:{folder}/*.txt", **settings)

    return write


@pytest.fixture
def encoded(monkeypatch):
    """A list of all texts that were tokenized."""
    seen = []
    original = Tokenizer.encode_array

    def encode_array(self, text):
        seen.append(text)
        return original(self, text)

    monkeypatch.setattr(Tokenizer, "encode_array", encode_array)
    return seen


def test_tokens_and_counts_by_hand(text):
    r"""Two documents, "ab é\n" and "b a": a 4, b 5, é 6, line feed 2, space 3, and 0 between documents.

    4 bytes + 1 (é has two) + 1 line feed are 6, and 3; words: ab, é, b, a, and an end of each line.
    """
    data = prepare(text("ab é\n", "b a"))
    store = data.splits["train"]
    assert store.tokens.tolist() == [0, 4, 5, 3, 6, 2, 0, 5, 3, 4]
    assert store.documents.tolist() == [1, 7]
    assert store.counts == TextCounts(tokens=9, bytes=9, words=6, characters=8, documents=2, unknown=0)
    assert data.tokenizer.vocab_size == 7
    report = data.report["splits"]["train"]
    assert {name: report[name] for name in dataclasses.asdict(store.counts)} == dataclasses.asdict(
        store.counts
    )
    assert (report["documents"], report["rule"], report["licence"]) == (2, "the whole corpus", None)


def test_counts_are_of_the_normalized_text(text):
    decomposed = "e\u0301 e\u0301\n"  # e and an accent: 2 characters and 3 bytes, as é 1 and 2
    for form, characters, size in [("none", 6, 8), ("nfc", 4, 6)]:
        counts = prepare(text(decomposed, normalize=form)).splits["train"].counts
        assert (counts.characters, counts.bytes, counts.tokens) == (characters, size, characters)


def test_unknown_characters_are_counted(text):
    data = prepare(
        text("aaabbbc\n", vocab_size=5)
    )  # <eod>, <unk>, the most frequent and the lowest: a, b, line feed
    store = data.splits["train"]
    assert store.counts.unknown == 1
    assert store.tokens.tolist() == [0, 3, 3, 3, 4, 4, 4, 1, 2]
    assert prepare(text("aaabbbc\n")).splits["train"].counts.unknown == 0


def test_the_splits_share_one_alphabet(text):
    """As is customary for characters; the text of another corpus has no say."""
    settings = text("abc\n" * 9 + "x\n", split="90/10/0")
    assert "x" in prepare(settings).tokenizer.characters
    other = dataclasses.replace(settings, valid_corpus=text("abc\n" * 9 + "y\n").corpus)
    assert prepare(other).splits["valid"].counts.unknown == 0
    path = settings.corpus.removeprefix("text:").replace("*", "9")
    with open(path, "w") as file:
        file.write("abz\n")
    given = dataclasses.replace(
        settings, corpus=settings.corpus.replace("*", "0"), valid_corpus=f"text:{path}"
    )
    assert prepare(given).splits["valid"].counts.unknown == 1


def test_the_second_time_nothing_is_tokenized(text, encoded):
    settings = text("one fish\ntwo fish\n" * 5, split="80/20/0")
    said = []
    first = prepare(settings, say=said.append)
    assert said[1:] == [
        "training a char tokenizer",
        "tokenizing train: 1 documents, 72 bytes",
        "tokenizing valid: 1 documents, 18 bytes",
    ]
    assert encoded
    encoded.clear(), said.clear()
    again = prepare(settings, say=said.append)
    assert encoded == []
    assert said == [f"reading {settings.corpus}"]
    for name in ("train", "valid"):
        np.testing.assert_array_equal(first.splits[name].tokens, again.splits[name].tokens)
        assert first.splits[name].counts == again.splits[name].counts
    assert first.report == again.report


@pytest.mark.parametrize(
    "change",
    [{"split": "60/40/0"}, {"normalize": "nfkc"}, {"tokenizer": "sentencepiece", "vocab_size": 280}],
    ids=str,
)
def test_what_decides_the_content_makes_a_new_store(text, encoded, change):
    settings = text("one fish\ntwo fish\n" * 5, split="80/20/0")
    prepare(settings)
    encoded.clear()
    prepare(dataclasses.replace(settings, **change))
    assert encoded


def test_another_text_makes_a_new_store(text, encoded):
    settings = text("one fish\n" * 9)
    before = prepare(settings)
    text("one fish\n" * 8 + "one dish\n")
    encoded.clear()
    after = prepare(settings)
    assert encoded
    assert before.report["splits"]["train"]["fingerprint"] != after.report["splits"]["train"]["fingerprint"]
    assert before.splits["train"].tokens.tolist() != after.splits["train"].tokens.tolist()


def test_the_store_is_mapped_not_read(text):
    tokens = prepare(text("abc\n")).splits["train"].tokens
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint16
    assert tokens.mode == "r"
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_frequencies_count_every_target_once(text, monkeypatch):
    store = prepare(text("abba\n" * 9, "cab\n" * 7)).splits["train"]
    expected = [np.count_nonzero(store.tokens[1:] == token) for token in range(9)]
    assert sum(expected) == store.counts.tokens
    assert min(expected[:1] + expected[2:6]) > 0  # end-of-document, line end, a, b and c
    for part in (1, 7, 2**22):
        monkeypatch.setattr("lm_keras.data.store.COUNTED_TOKENS", part)
        assert store.frequencies(9).tolist() == expected


def test_a_large_vocabulary_takes_four_bytes(tmp_path, text):
    # Surrogates are no characters.
    characters = [chr(code) for code in range(32, 32 + 2**16 + 2**11) if not 0xD800 <= code < 0xE000]
    settings = text("".join(characters[-3:] + characters[:2]))
    split = make_splits(
        open_corpus(settings.corpus, text_field="", on_bad_text="error"), fractions=(100, 0, 0)
    )
    for count, dtype in [(2**16 - 2, np.uint16), (2**16 - 1, np.uint32)]:
        tokenizer = CharTokenizer(characters[-count:], "none")
        store = tokenized(split["train"], tokenizer, tmp_path / "cache")
        assert store.tokens.dtype == dtype
        assert store.tokens[1:4].tolist() == [count - 1, count, count + 1]  # the last three
        assert tokenizer.vocab_size == count + 2


def test_a_cache_that_cannot_be_written(tmp_path, text):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError) as caught:
        prepare(text("abc\n", cache_dir=str(tmp_path / "file")))
    assert str(caught.value).startswith(
        f"cannot write {tmp_path}/file/tokenizers: Not a directory; free space"
    )


def test_a_text_that_changes_while_it_is_read(text, tmp_path, monkeypatch):
    settings = text("one fish\n" * 9)
    original = preparation.trained_tokenizer

    def meanwhile(*args):
        tokenizer = original(*args)
        text("one fish\n" * 9 + "two fish\n")
        return tokenizer

    monkeypatch.setattr(preparation, "trained_tokenizer", meanwhile)
    with pytest.raises(InputError, match="has changed while it was read"):
        prepare(settings)
    assert list((tmp_path / "cache" / "tokens").iterdir()) == []


def test_a_tokenizer_that_is_given_is_used(text):
    tokenizer = train_tokenizer("char", ["zyx abc\n"], vocab_size=None, normalization="none")
    data = prepare(text("ab z\n"), tokenizer)
    assert data.tokenizer is tokenizer
    assert data.splits["train"].tokens.tolist() == [0, *tokenizer.encode("ab z\n")]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LM_KERAS_CACHE", str(tmp_path / "named"))
    assert cache_folder(None) == tmp_path / "named"
    assert cache_folder(str(tmp_path / "flag")) == tmp_path / "flag"
    monkeypatch.delenv("LM_KERAS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / ".cache" / "lm_keras"


@pytest.mark.parametrize("split", ["90/10", "a/b/c", "90/5/5/5", ""])
def test_bad_fractions(text, split):
    with pytest.raises(InputError, match=r"--split=.*: expected three percentages such as 90/5/5"):
        prepare(text("abc\n", split=split))


def test_replaced_text_is_reported(text):
    data = prepare(text(b"abc\xff\n", on_bad_text="replace"))
    assert data.report["bad_text"] == {"train": {"replaced_sequences": 1}}


@pytest.mark.parametrize("tokenizer", ["char", "sentencepiece"])
@pytest.mark.parametrize("content", ["The cats see. " * 40, "longword" * 40, " a\tb  c\n\n" + "word " * 30])
def test_words_are_counted_right_where_a_long_line_is_cut(text, monkeypatch, content, tokenizer):
    monkeypatch.setattr(file_corpus, "PIECE_BYTES", 7)
    monkeypatch.setattr(text_files, "LONGEST_LINE", 19)
    data = prepare(text(content, tokenizer=tokenizer, vocab_size=None if tokenizer == "char" else 275))
    store = data.splits["train"]
    assert store.counts.words == len(content.split()) + content.count("\n") + 1
    assert store.counts.bytes == len(content)
    assert data.tokenizer.decode(store.tokens[1:].tolist()) == content


@pytest.mark.parametrize("end", ["", "\n", " ", "\n\n", "\r\n", "\n "])
def test_every_tokenizer_counts_the_same_words(text, end):
    """In documents whose last line has a line feed or none, each line has one end."""
    contents = [f"to be or\n\nnot to be{end}", "that", f" is\tthe {end}", "question\n"]
    words = 10 + sum(content.removesuffix("\n").count("\n") + 1 for content in contents)
    for tokenizer, vocab_size in (("char", None), ("byte", None), ("word", None), ("sentencepiece", 280)):
        counts = prepare(text(*contents, tokenizer=tokenizer, vocab_size=vocab_size)).splits["train"].counts
        assert counts.words == words


def test_line_ends_of_windows_are_kept_and_count_no_words(text):
    content = "one fish\r\ntwo\u2028fish\r\n\r\n"
    data = prepare(text(content))
    store = data.splits["train"]
    assert data.tokenizer.decode(store.tokens[1:].tolist()) == content
    assert store.counts.words == 4 + 3


def test_a_full_disk_leaves_nothing(text, tmp_path):
    settings = text("one fish\n" * 999)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (4000, before[1])
    )  # less than the tokens, more than the tokenizer
    try:
        with pytest.raises(InputError) as caught:
            prepare(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = tmp_path / "cache" / "tokens"
    assert re.fullmatch(
        rf"cannot write {folder}/[0-9a-f]{{32}}: File too large; free space there or choose another folder "
        "with --cache_dir or LM_KERAS_CACHE",
        str(caught.value),
    )
    assert list(folder.iterdir()) == []
    assert prepare(settings).splits["train"].counts.tokens == 9 * 999


@pytest.mark.parametrize(
    "kind",
    ["char nfkc", "word none", "byte nfd", "sentencepiece nfkc", "char few", "words", "llama",
        "gpt2 few bytes", "gpt2 prefix", "unigram", "suffix"],
)  # fmt: skip
@pytest.mark.parametrize(
    "content", ["１２ １２ ﬁn\nthe  cat's\r\n É\n\n", "the cat sat on the mat", " the\n\n"]
)
def test_a_score_counts_what_a_split_counts(text, kind, content):
    """Bytes, tokens and what is lost of a text, whether it is scored or evaluated; also in parts."""
    path = sys.path
    sys.path = [*path, str(Path(__file__).parents[1] / "text")]
    import zoo

    sys.path = path
    if kind in zoo.MAKERS:
        tokenizer = HuggingFaceTokenizer(zoo.MAKERS[kind]().to_str().encode(), 2)
    else:
        name, form = kind.split()
        few, size = form == "few", {"sentencepiece": 290}.get(name)
        tokenizer = train_tokenizer(
            name, ["the cat sat\n" if few else content + "the cat sat on the mat\n" * 3],
            vocab_size=size, normalization="none" if few else form,
        )  # fmt: skip
    counts = prepare(text(content), tokenizer).splits["train"].counts
    found = counts_of(tokenizer, content, tokenizer.encode(content))
    assert found == {"tokens": counts.tokens, "bytes": counts.bytes, "unknown": counts.unknown}
    said = tokenizer.canonical(content)
    assert (counts.characters, counts.bytes) == (len(said), len(said.encode()))
    if not counts.unknown:
        assert said == tokenizer.decode(tokenizer.encode(content))


def test_parts_of_a_document_are_counted_as_the_whole(text, tmp_path, monkeypatch):
    """Of a tokenizer whose pieces know their tokens: words and bytes do not depend on where they were cut."""
    path = sys.path
    sys.path = [*path, str(Path(__file__).parents[1] / "text")]
    import zoo

    sys.path = path
    content = "the cat sat on the mat, and  the dog ran to the log.\n\n" * 60 + "the dog"
    for kind in ("gpt2 prefix", "llama", "words", "suffix", "wordpiece"):
        tokenizer = HuggingFaceTokenizer(zoo.MAKERS[kind]().to_str().encode(), 2)
        whole = prepare(text(content), tokenizer).splits["train"]
        with monkeypatch.context() as patch:
            for name, value in (("BLOCK", 700), ("OVERLAP", 350), ("MARGIN", 60)):
                patch.setattr(long_documents, name, value)
            assert len(list(tokenizer.pieces([content]))) > 4
            parts = prepare(text(content, cache_dir=str(tmp_path / kind)), tokenizer).splits["train"]
        assert parts.counts == whole.counts
        assert parts.tokens.tolist() == whole.tokens.tolist()
        said = tokenizer.canonical(content)
        assert whole.counts.words == len(said.split()) + said.removesuffix("\n").count("\n") + 1


def test_a_run_that_was_begun_keeps_its_division(tmp_path, tiny_config):
    """Earlier versions held repeated documents out, too."""
    texts = [f"text {number}" for number in range(60)] + ["text 7", "text 8", "text 9"] * 4
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    config = tiny_config(corpus=f"text:{tmp_path}/a.jsonl", tokenizer="char").data
    now = prepare(config).report
    rule = "documents by a hash of their content, 90/5/5 per cent"
    before = prepare(config, begun={"splits": {"train": {"rule": rule}}}).report
    assert before["splits"]["train"]["rule"] == rule != now["splits"]["train"]["rule"]
    assert before["splits"]["train"]["fingerprint"] != now["splits"]["train"]["fingerprint"]
    assert prepare(config, begun=now).report == now
