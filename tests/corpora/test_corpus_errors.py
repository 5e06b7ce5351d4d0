"""Every bad input is one line that names what was wrong, what was expected and what to do."""

import contextlib
import gzip
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.errors import InputError

POEM = "".join(f"line {number}: ein Vers, grün\n" for number in range(4000)).encode()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(spec, text_field="text", on_bad_text="error"):
    """Read a corpus to the end and return the text of the error that it must raise."""
    with pytest.raises(InputError) as caught:
        corpus = open_corpus(spec, text_field=text_field, on_bad_text=on_bad_text)
        for document in corpus.documents():
            for piece in document.pieces():
                assert piece
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_scheme():
    expected = (
        "expected python-docs[:libraries|:names|:signatures|:questions], "
        "text:GLOB such as text:data/*.txt, tsv:GLOB, "
        "csv:GLOB, jsonl:GLOB, lines:SOURCE,TARGET such as lines:train.de,train.en, conll:GLOB, or "
        "tfds:NAME[/CONFIG][:SPLIT] such as tfds:tiny_shakespeare"
    )
    assert message("pyhton-docs") == f"unknown corpus 'pyhton-docs' (did you mean 'python-docs'?): {expected}"
    assert message("lost/text.md") == f"unknown corpus 'lost/text.md': {expected}"
    assert message("txt:a.txt") == f"unknown corpus 'txt:a.txt' (did you mean 'text'?): {expected}"
    assert (
        message("data/*.txt") == f"unknown corpus 'data/*.txt' (did you mean 'text:data/*.txt'?): {expected}"
    )
    assert message("") == f"unknown corpus '': {expected}"


def test_a_path_without_its_scheme(folder):
    """Wherever a corpus is named, the one that would work is told."""
    (folder / "book.txt").write_text("x")
    (folder / "d").mkdir()
    for name in ("a.jsonl", "b.jsonl", "c.txt"):
        (folder / "d" / name).write_text("x")
    meant = {
        "book.txt": "book.txt", "bok.txt": "book.txt", "./bok.txt": "./book.txt", "file:book.txt": "book.txt",
        "d": "d/*.jsonl", "d/": "d/*.jsonl", "json:d/a.jsonl": "d/a.jsonl", "d/*.txt": "d/*.txt",
        "book.txt,d/c.txt": "book.txt,d/c.txt", f"{folder}/d/d.txt": f"{folder}/d/c.txt",
    }  # fmt: skip
    for spec, path in meant.items():
        assert f"unknown corpus {spec!r} (did you mean 'text:{path}'?)" in message(spec)
    assert message("text:d") == "d is a folder: expected files; write d/*.jsonl or d/**/*.jsonl"
    assert f"looked from the folder {folder}/d, which has c.txt, ...; expected" in message("text:d/c*.text")


def test_no_file_named():
    assert message("text: ,") == "the corpus text: names no file: expected text:GLOB, such as text:data/*.txt"


def test_missing_file(folder):
    (folder / "poems.txt").write_text("x")
    assert (
        message("text:poem.txt") == "no file poem.txt (did you mean 'poems.txt'?): expected a file or glob, "
        f"looked from the folder {folder}"
    )
    os.symlink("nowhere", folder / "link.txt")
    assert (
        message("text:li*.txt")
        == "link.txt is a symbolic link to nowhere, which does not exist: expected a link to a file; "
        "mend or delete the link"
    )


def test_glob_without_a_match(folder):
    (folder / "sub").mkdir()
    assert (
        message("text:sub/*.txt")
        == f"no file matches sub/*.txt: looked from the folder {folder}/sub; expected at least one file"
    )
    assert (
        message("text:nope/*.txt")
        == f"no file matches nope/*.txt: the folder {folder}/nope is missing; expected at least one file"
    )
    assert message("text:s*").startswith(
        "no file matches s*: only folders do, such as sub; end the glob with"
    )


def test_folder(folder):
    (folder / "sub").mkdir()
    assert message("text:sub") == "sub is a folder: expected files; write sub/*.txt or sub/**/*.txt"


def test_no_regular_file(folder):
    os.mkfifo(folder / "pipe")
    assert (
        message("text:pipe") == "pipe is not a regular file: expected a file that can be read more than once"
    )


def test_known_formats_that_are_no_text(folder):
    (folder / "a.tar.gz").write_bytes(b"x")
    assert (
        message("text:*.gz")
        == "a.tar.gz: a .tar.gz file is not text: expected .txt, .gz or .jsonl; unpack or convert it first"
    )


@contextlib.contextmanager
def nobody():
    """Be a user without rights; tests may run as root, who may read everything."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


def test_permission():
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        (folder / "closed.txt").write_text("secret")
        (folder / "closed.txt").chmod(0)
        (folder / "shut").mkdir()
        (folder / "shut" / "a.txt").write_text("secret")
        (folder / "shut").chmod(0)
        with nobody():
            closed = message(f"text:{folder}/*.txt")
            inside = message(f"text:{folder}/shut/a.txt")
            shut = message(f"text:{folder}/shut/*.txt")
    finally:
        (folder / "shut").chmod(0o700)
        shutil.rmtree(folder)
    reason = "Permission denied; expected a readable file, check its permissions"
    assert closed == f"cannot read {folder}/closed.txt: {reason}"
    assert inside == f"cannot read {folder}/shut/a.txt: {reason}"
    assert (
        shut == f"cannot list the folder {folder}/shut: Permission denied; expected a readable folder, "
        "check its permissions or write a glob that leaves it out"
    )


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["b.txt", "b.gz", "b.jsonl", "b.jsonl.gz"])
def test_empty_file_among_others(name, content, folder):
    (folder / "a.txt").write_text("full")
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert message("text:*") == f"{name} is empty: expected text; leave it out of the corpus or fill it"


def test_gz_of_no_bytes(folder):
    (folder / "a.gz").write_bytes(b"")
    assert message("text:a.gz").startswith("a.gz is empty: expected text")


def test_all_documents_empty(folder):
    (folder / "a.jsonl").write_text('{"text": ""}\n{"text": " "}\n')
    assert message("text:a.jsonl").startswith("a.jsonl is empty: expected text")


def test_nothing_left_after_skipping(folder):
    (folder / "a.txt").write_bytes(b"\xff\n\0\n")
    (folder / "b.jsonl").write_bytes(b'{"text": "\xff"}\n')
    for name in ("a.txt", "b.jsonl"):
        assert message(f"text:{name}", on_bad_text="skip").startswith(
            f"{name}: nothing is left after skipping bad text: expected UTF-8 text; convert the file"
        )


REMEDY = "expected UTF-8 text; fix the file, or pass --on_bad_text=replace or --on_bad_text=skip"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"good\nba\xffd\n", "bad UTF-8 (byte 0xFF) at byte 7, line 2"),
        (b"good\n\n\xe6\x9c", "bad UTF-8 (byte 0xE6) at byte 6, line 3"),
        (b"\xed\xa0\x80\n", "bad UTF-8 (byte 0xED) at byte 0, line 1"),
        (b"\xef\xbb\xbfgo\0od", "a NUL byte at byte 5, line 1"),
        (b"a\0\xff", "a NUL byte at byte 1, line 1"),
        (b"abc\xff\0", "bad UTF-8 (byte 0xFF) at byte 3, line 1"),
        (POEM * 30 + b"x\xffy", f"bad UTF-8 (byte 0xFF) at byte {30 * len(POEM) + 1}, line 120001"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_text(content, what, packed, folder):
    name = "a.gz" if packed else "a.txt"
    (folder / name).write_bytes(gzip.compress(content, 1) if packed else content)
    if content == b"a\0\xff":
        assert (
            message(f"text:{name}")
            == f"{name}: {what}: expected UTF-8 text; it looks like UTF-16LE: convert it (iconv -f UTF-16LE"
            " -t UTF-8)"
        )
    else:
        assert message(f"text:{name}") == f"{name}: {what}: {REMEDY}"


def test_utf16(folder):
    (folder / "a.txt").write_text("Grün\n", encoding="utf-16")
    assert (
        message("text:a.txt") == "a.txt: the byte order mark of UTF-16 at its start: expected UTF-8 text; "
        "convert it (iconv -f UTF-16 -t UTF-8)"
    )


def test_bad_text_in_json_lines(folder):
    (folder / "a.jsonl").write_bytes(b'{"text": "ok"}\n{"text": "\xff"}\n')
    assert message("text:a.jsonl") == f"a.jsonl: bad UTF-8 (byte 0xFF) at byte 25, line 2: {REMEDY}"
    (folder / "b.jsonl").write_bytes(b'{"text": "a\\ud800"}\n')
    assert message("text:b.jsonl").startswith("b.jsonl:1: a lone surrogate U+D800 at character 1 of the text")
    (folder / "c.jsonl").write_bytes(b'\n{"text": "ab\\u0000"}\n')
    assert message("text:c.jsonl").startswith(
        "c.jsonl:2: a NUL at character 2 of the text: expected text; fix"
    )


def test_unknown_policy(folder):
    (folder / "a.txt").write_text("x")
    assert (
        message("text:a.txt", on_bad_text="ignore")
        == "unknown on_bad_text 'ignore': expected one of error, replace, skip"
    )
    assert " (did you mean 'replace'?)" in message("text:a.txt", on_bad_text="repalce")


@pytest.mark.parametrize("kept", [5, 9, 300, -9, -8, -1])
@pytest.mark.parametrize("name", ["a.gz", "a.jsonl.gz"])
def test_truncated_gz(kept, name, folder):
    content = POEM if name == "a.gz" else b"".join(b'{"text": "%d"}\n' % number for number in range(9000))
    (folder / name).write_bytes(gzip.compress(content)[:kept])
    assert (
        message(f"text:{name}")
        == f"{name} is a truncated gzip file: its end is missing; fetch or pack it again"
    )


def test_damaged_gz(folder):
    packed = bytearray(gzip.compress(POEM))
    packed[len(packed) // 2] ^= 0x55
    (folder / "a.gz").write_bytes(packed)
    assert message("text:a.gz").startswith(
        ("a.gz is not a sound gzip file (", "a.gz is a truncated gzip file")
    )
    wrong_sum = bytearray(gzip.compress(POEM))
    wrong_sum[-6] ^= 1
    (folder / "b.gz").write_bytes(wrong_sum)
    assert message("text:b.gz").startswith("b.gz is not a sound gzip file (CRC check failed")
    (folder / "c.gz").write_bytes(POEM)
    assert message("text:c.gz").startswith("c.gz is not a sound gzip file (Not a gzipped file")
    (folder / "d.gz").write_bytes(gzip.compress(POEM) + b"garbage")
    assert message("text:d.gz").startswith("d.gz is not a sound gzip file (Not a gzipped file")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": "a"', "a.jsonl:3: not JSON (Expecting ',' delimiter"),
        ("plain text", "a.jsonl:3: not JSON (Expecting value"),
        ("[" * 100_000, "a.jsonl:3: not JSON ("),
        ("[1]", "a.jsonl:3: a JSON array: expected an object with the text in the field 'text'"),
        ("3.5", "a.jsonl:3: a JSON number: expected an object with the text in the field 'text'"),
        (
            '{"Text": "a", "id": 4}',
            (
                "a.jsonl:3: no field 'text' (did you mean 'Text'?): the fields there are 'Text', 'id'; "
                "name the one with the text with --text_field"
            ),
        ),
        ("{}", "a.jsonl:3: no field 'text': the fields there are none; none of them holds a string"),
        (
            '{"text": ["a"], "title": "b"}',
            (
                "a.jsonl:3: the field 'text' is a JSON array: expected a string; fields with strings there:"
                " 'title' (choose one with --text_field)"
            ),
        ),
        (
            '{"text": null}',
            "a.jsonl:3: the field 'text' is a JSON null: expected a string; no other field holds one",
        ),
    ],
)
def test_json_lines(line, expected, folder):
    (folder / "a.jsonl").write_text('{"text": "good"}\n\n' + line + "\n")
    assert message("text:a.jsonl").startswith(expected)
