"""Sources of pairs: parallel files, tables, JSON lines, signatures; what is wrong in them, with its place."""

import gzip
import json

import pytest

from lm_keras.corpora import make_splits, open_corpus
from lm_keras.corpora.mixed import MixedCorpus, specs_in
from lm_keras.corpora.signatures import in_words, signatures
from lm_keras.errors import InputError

BOTH = ("source", "target")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Returns a function that writes files, by name, and opens a corpus."""
    monkeypatch.chdir(tmp_path)

    def opened(spec, files, fields=BOTH, on_bad_text="error", **how):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_corpus(spec, text_field="text", on_bad_text=on_bad_text, fields=fields, **how)

    return opened


def read(corpus):
    return [(one.source, one.pair.source, *one.pair.targets) for one in corpus.documents()]


def refused(corpus):
    with pytest.raises(InputError) as error:
        list(corpus.documents())
    return str(error.value)


def lines(corpus, source, target, **how):
    return corpus("lines:a.de,a.en", {"a.de": source, "a.en": target}, **how)


def test_lines_with_the_same_number_are_a_pair(corpus):
    found = lines(corpus, "Ein Hund.\nZwei  Hunde. \n", "A dog.\n\tTwo dogs.")
    assert read(found) == [("a.de:1", "Ein Hund.", "A dog."), ("a.de:2", "Zwei  Hunde.", "Two dogs.")]
    assert read(found) == read(found)


def test_a_line_ends_with_a_line_feed_and_nothing_else(corpus):
    found = lines(corpus, "a\u2028b\x0bc\x85d\ne\n", "1\n2\n")
    assert read(found) == [("a.de:1", "a\u2028b\x0bc\x85d", "1"), ("a.de:2", "e", "2")]


def test_marks_and_carriage_returns_are_no_part_of_a_side(corpus):
    found = lines(corpus, b"\xef\xbb\xbfein\r\nzwei\r\n", b"\xef\xbb\xbfone\ntwo\r\n")
    assert read(found) == [("a.de:1", "ein", "one"), ("a.de:2", "zwei", "two")]


def test_lines_that_are_empty_on_both_sides_are_left_out_and_counted(corpus):
    found = lines(corpus, "ein\n\nzwei\n", "one\n  \ntwo\n")
    assert read(found) == [("a.de:1", "ein", "one"), ("a.de:3", "zwei", "two")]
    assert found.report() == {"empty_documents": 1}


def test_an_empty_side_is_refused_or_skipped(corpus):
    assert refused(lines(corpus, "ein\nzwei\n", "one\n \n")).startswith("a.de:2: the target is empty;")
    assert refused(lines(corpus, "ein\n\n", "one\ntwo\n")).startswith("a.de:2: the source is empty;")
    found = lines(corpus, "ein\nzwei\n", "one\n \n", on_bad_text="skip")
    assert read(found) == [("a.de:1", "ein", "one")] and found.report() == {"skipped_documents": 1}


def test_files_of_different_length_are_refused_with_both_counts(corpus):
    said = refused(lines(corpus, "ein\nzwei\ndrei\n", "one\ntwo"))
    assert "a.de has 3 lines and a.en has 2: expected as many" in said
    assert "the first line without a partner is a.de:3 'drei'" in said
    said = refused(lines(corpus, "ein\n\nzwei\n", "one\ntwo\n", on_bad_text="skip"))
    assert "the first line with a text on one side only is a.en:2" in said


def test_bad_text_is_told_with_its_file_and_skipped_as_a_pair(corpus):
    assert "a.en: a NUL byte at byte 5, line 2" in refused(lines(corpus, "ein\nzwei\n", b"one\nt\0o\n"))
    assert "a.de: bad UTF-8" in refused(lines(corpus, b"e\xffn\nzwei\n", "one\ntwo\n"))
    found = lines(corpus, "ein\nzwei\ndrei\n", b"one\nt\0o\nthree\n", on_bad_text="skip")
    assert read(found) == [("a.de:1", "ein", "one"), ("a.de:3", "drei", "three")]
    found = lines(corpus, "ein\nzwei\n", b"one\nt\0o\n", on_bad_text="replace")
    assert read(found)[1] == ("a.de:2", "zwei", "t\ufffdo")


def test_globs_and_packed_files(corpus):
    files = {f"{n}.{end}": gzip.compress(f"{n} {end}\n".encode()) for n in "ba" for end in ("de.gz", "en.gz")}
    found = corpus("lines:*.de.gz,*.en.gz", files)
    assert read(found) == [("a.de.gz:1", "a de.gz", "a en.gz"), ("b.de.gz:1", "b de.gz", "b en.gz")]


def test_a_comma_in_a_name(corpus):
    found = corpus("lines:a,b.de,a,b.en", {"a,b.de": "ein\n", "a,b.en": "one\n"})
    assert read(found) == [("a,b.de:1", "ein", "one")]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("lines:a.de", "does not name two sides: expected lines:SOURCE,TARGET"),
        ("lines:a.de,", "does not name two sides"),
        ("lines:a.de,a.de", "a.de is on both sides"),
        (
            "lines:a.*,a.en",
            "2 source files, from a.de on, and 1 target files, from a.en on: expected as many",
        ),
    ],
)
def test_sides_that_are_none(corpus, spec, said):
    with pytest.raises(InputError, match=said.replace("*", r"\*")):
        corpus(spec, {"a.de": "ein\n", "a.en": "one\n"})


def test_a_source_alone_needs_no_target(corpus):
    (document,) = corpus("tsv:a.tsv", {"a.tsv": "ein\n"}, fields=("source",)).documents()
    assert document.pair == ("ein", (), None) and "".join(document.pieces()) == "ein\n"


def test_columns_of_tables(corpus):
    two = {"a.tsv": "ein\tone\nzwei\ttwo\n"}
    found = corpus("tsv:a.tsv", two)
    assert read(found)[1] == ("a.tsv:2", "zwei", "two")
    assert found.remarks() == ["a.tsv: the source is column 1 and the target column 2"]
    assert read(corpus("tsv:a.tsv", two, source_field="2"))[1] == ("a.tsv:2", "two", "zwei")
    three = {"a.csv": 'de,"en",by\nein,"one, 1",me\n'}
    assert read(corpus("csv:a.csv", three, source_field="en", target_field="de")) == [
        ("a.csv:2", "one, 1", "ein")
    ]
    said = refused(corpus("csv:a.csv", three, source_field="en", target_field="fr"))
    assert "no column 'fr'" in said and "with --target_field" in said
    assert "both in column 2" in refused(corpus("csv:a.csv", three, source_field="en", target_field="2"))
    assert "one column, and this task needs a source and a target" in refused(
        corpus("tsv:b.tsv", {"b.tsv": "a\nb\n"})
    )


def test_json_lines_with_several_references(corpus):
    records = [
        {"source": ["First. ", "Second."], "target": ["one", " two "]},
        {"translation": {"de": "ein", "en": "one"}},
    ]
    content = {"a.jsonl": "".join(json.dumps(record) + "\n" for record in records[:1])}
    (document,) = corpus("jsonl:a.jsonl", content).documents()
    assert document.pair == ("First. Second.", ("one", "two"), None)
    assert "".join(document.pieces()) == "First. Second.\none\n"
    content = {"a.jsonl": json.dumps(records[1]) + "\n"}
    found = corpus("jsonl:a.jsonl", content, source_field="translation/de", target_field="translation.en")
    assert read(found) == [("a.jsonl:1", "ein", "one")]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"source": "a"}, "a.jsonl:1: no field 'target'"),
        ({"source": "a", "target": []}, "the field 'target' is or holds an empty array"),
        ({"source": 3, "target": "b"}, "the field 'source' is or holds a JSON number"),
        ({"source": "a", "target": ["b", " "]}, "a.jsonl:1: the target is empty"),
        ({"source": "a\0", "target": "b"}, "a.jsonl:1: a NUL at character 1"),
    ],
)
def test_records_that_are_no_pairs(corpus, record, said):
    assert said in refused(corpus("jsonl:a.jsonl", {"a.jsonl": json.dumps(record) + "\n"}))


def test_the_language_of_a_target(corpus):
    rows = {"a.tsv": "to\tsource\ttarget\nen\tein\tone\nfr\tein\tun\n"}
    documents = corpus("tsv:a.tsv", rows, language_field="to").documents()
    assert [one.pair.language for one in documents] == ["en", "fr"]
    rows = {"a.tsv": "to\tsource\ttarget\n \tein\tone\n"}
    assert "a.tsv:2: the language of the target is empty" in refused(
        corpus("tsv:a.tsv", rows, language_field="to")
    )
    records = {"a.jsonl": '{"source": "ein", "target": "one", "to": "en"}\n'}
    (document,) = corpus("jsonl:a.jsonl", records, language_field="to").documents()
    assert document.pair.language == "en"
    (document,) = lines(corpus, "ein\n", "one\n", language="en").documents()
    assert document.pair.language == "en"


def test_the_sides_belong_to_the_fingerprint(corpus):
    def fingerprint(source, target):
        return make_splits(lines(corpus, source, target), fractions=(100, 0, 0))["train"].fingerprint()

    assert fingerprint("a\n", "b\n") == fingerprint("a\n", "b\n")
    assert len({fingerprint("a\n", "b\n"), fingerprint("b\n", "a\n"), fingerprint("ab\n", "b\n")}) == 3


def test_no_side_that_is_held_out_is_learnt(corpus):
    sources = [f"s{n % 70}" for n in range(100)]
    targets = [f"t{n * 7 % 90}" for n in range(100)]
    found = lines(corpus, "\n".join(sources), "\n".join(targets))
    splits = make_splits(found, fractions=(80, 10, 10))
    sides = {name: {side for one in split.documents() for side in one.pair.targets + one.pair[:1]}
             for name, split in splits.items()}  # fmt: skip
    assert not sides["train"] & (sides["valid"] | sides["test"]) and not sides["valid"] & sides["test"]
    assert min(split.num_documents for split in splits.values()) >= 5
    assert splits["valid"].rule.startswith("pairs that share no side with others")


def test_signatures():
    source = """
class BaseEventLoop:
    async def run_in_executor(self, executor, func=None, *args, timeout2, **options): ...
def _private(x): ...
"""
    found = list(signatures(source, "asyncio/events.py"))
    assert found == [
        (
            "asyncio/events.py:BaseEventLoop.run_in_executor",
            "BaseEventLoop.run_in_executor(executor, func, *args, timeout2, **options)",
            "run in executor of base event loop takes executor, optional func, all args, timeout 2 and named"
            " options",
        ),
        ("asyncio/events.py:_private", "_private(x)", "private takes x"),
    ]
    assert in_words("getHTTPResponse__code") == "get http response code"


def test_the_corpus_of_signatures_has_many_pairs():
    corpus = open_corpus("python-docs:signatures", text_field="text", on_bad_text="error", fields=BOTH)
    documents = list(corpus.documents())
    assert len(documents) > 5000 and len({one.pair.source for one in documents}) == len(documents)
    with pytest.raises(
        InputError, match="python-docs has no source and target: expected python-docs:signatures"
    ):
        open_corpus("python-docs", text_field="text", on_bad_text="error", fields=BOTH)


def test_several_corpora_are_one(corpus):
    files = {"a.de": "ein\n", "a.en": "one\n", "b.tsv": "zwei\ttwo\n"}
    parts = [corpus(spec, files) for spec in specs_in("lines:a.de,a.en  tsv:b.tsv")]
    found = MixedCorpus(parts)
    assert [(one.pair.source, one.corpus) for one in found.documents()] == [("ein", 0), ("zwei", 1)]
    assert found.spec == "lines:a.de,a.en tsv:b.tsv"


def test_white_space_parts_corpora_where_a_source_follows():
    assert specs_in("text:my notes.txt text:b.txt") == ["text:my notes.txt", "text:b.txt"]
    assert specs_in("python-docs text:b.txt") == ["python-docs", "text:b.txt"]
    assert specs_in("text:my text file.txt") == ["text:my text file.txt"]
