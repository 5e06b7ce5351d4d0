import gzip
import json
import os

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.corpora.documents import Document, cut_blocks, cut_text, within_line
from lm_keras.corpora.text_files import TextFiles


def texts(spec, text_field="text", on_bad_text="error"):
    corpus = open_corpus(f"text:{spec}", text_field=text_field, on_bad_text=on_bad_text)
    return {document.source: "".join(document.pieces()) for document in corpus.documents()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, so that sources in tests are short relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_document_is_a_file_or_a_json_line(folder):
    (folder / "b.txt").write_bytes("Grün\r\nzwei  \n\n".encode())
    (folder / "a.gz").write_bytes(gzip.compress("月光\n".encode()) + gzip.compress(b"second member"))
    (folder / "c.jsonl").write_text('{"text": "one\\n\\ud83d\\ude00", "n": 1}\n\n  \n{"text": "two"}')
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(b'{"text": "three"}\r\n'))
    (folder / "e.raw").write_text("other names are plain text")
    assert texts("*") == {
        "a.gz": "月光\nsecond member",
        "b.txt": "Grün\r\nzwei  \n\n",
        "c.jsonl:1": "one\n😀",
        "c.jsonl:4": "two",
        "d.jsonl.gz:1": "three",
        "e.raw": "other names are plain text",
    }


def test_files_by_path_each_once(folder):
    (folder / "z" / "deep").mkdir(parents=True)
    for name in ("z/deep/3.txt", "z/2.txt", "b.txt", "a,b [1].txt"):
        (folder / name).write_text(name)
    os.symlink("b.txt", folder / "c.txt")
    assert list(texts("z/**/*.txt, b.txt,z/2.txt")) == ["b.txt", "z/2.txt", "z/deep/3.txt"]
    assert list(texts("**/*.txt")) == ["a,b [1].txt", "b.txt", "z/2.txt", "z/deep/3.txt"]
    assert list(texts("a,b [1].txt")) == ["a,b [1].txt"]
    assert list(texts(f"{folder}/b.txt")) == [f"{folder}/b.txt"]


def test_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "a.txt").write_text("at home")
    assert list(texts("~/*.txt").values()) == ["at home"]


def test_byte_order_mark_only_at_the_start(folder):
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    (folder / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "c"}\n')
    assert texts("a.txt") == {"a.txt": "a\n\ufeffb\n"}
    assert texts("b.jsonl") == {"b.jsonl:1": "c"}


def test_another_text_field(folder):
    (folder / "a.jsonl").write_text('{"title": "T", "body": "B"}\n')
    assert texts("a.jsonl", text_field="body") == {"a.jsonl:1": "B"}


def test_pieces_end_with_line_feeds_and_documents_read_again(folder, monkeypatch):
    lines = [f"{number} {'x' * (number % 97)} ä\n" for number in range(53_000)]
    whole = "".join(lines) + "end"
    (folder / "a.txt").write_text(whole)
    (folder / "b.txt.gz").write_bytes(gzip.compress(whole.encode(), 1))
    (folder / "c.jsonl").write_text(json.dumps({"text": whole}))
    for document in TextFiles("*", text_field="text", on_bad_text="error").documents():
        pieces = list(document.pieces())
        assert len(pieces) >= 3
        assert "".join(pieces) == whole
        assert all(piece.endswith("\n") for piece in pieces[:-1])
        assert max(map(len, pieces)) < 2**20 + 1000
        assert list(document.pieces()) == pieces


def test_a_line_longer_than_a_piece_is_one_piece(folder):
    line = "y" * (5 * 2**19) + "\n"
    (folder / "a.txt").write_text("first\n" + line + "last")
    (document,) = TextFiles("a.txt", text_field="text", on_bad_text="error").documents()
    assert [len(piece) for piece in document.pieces()] == [6, len(line), 4]


def test_cutting():
    assert list(cut_text("ab\ncd\nefghij\nk", size=6)) == ["ab\ncd\n", "efghij\n", "k"]
    assert list(cut_text("abcdefgh", size=3)) == ["abcdefgh"]
    assert list(cut_text("abcde\n\nf", size=3)) == ["abcde\n", "\nf"]
    assert list(cut_text("")) == []
    assert list(cut_blocks([b"ab\ncd", b"ef", b"g\nh\ni"], 9, within_line)) == [b"ab\n", b"cdefg\nh\n", b"i"]
    assert list(cut_blocks([b"ab cd", b" ef", b"gh\n"], 6, within_line)) == [b"ab cd", b" efgh\n"]
    assert list(cut_blocks([])) == []


def test_documents_compare_by_source():
    assert Document.from_text("a:1", "x") == Document.from_text("a:1", "y")
    assert repr(Document.from_text("a:1", "x")) == "Document(source='a:1')"


# bytes per line: good, a lone continuation, a NUL, a cut-off sequence, and a genuine U+FFFD
BAD = b"good\n\x80bad\nnul\0\0\ncut \xe6\x9c\ngenuine \xef\xbf\xbd\r\nlast"


def test_replace_puts_one_mark_for_each_bad_sequence(folder):
    (folder / "a.txt").write_bytes(BAD)
    corpus = TextFiles("a.txt", text_field="text", on_bad_text="replace")
    for _ in range(2):  # reading again does not count again
        (document,) = corpus.documents()
        assert "".join(document.pieces()) == (
            "good\n\ufffdbad\nnul\ufffd\ufffd\ncut \ufffd\ngenuine \ufffd\r\nlast"
        )
        assert corpus.report() == {"replaced_sequences": 4}


def test_skip_drops_the_lines(folder):
    (folder / "a.txt").write_bytes(BAD)
    corpus = TextFiles("a.txt", text_field="text", on_bad_text="skip")
    (document,) = corpus.documents()
    assert "".join(document.pieces()) == "good\ngenuine \ufffd\r\nlast"
    assert corpus.report() == {"skipped_lines": 3}


BAD_LINES = (
    b'{"text": "good"}\n{"text": "\xff"}\n{"text": "nul \\u0000"}\n{"text": "half \\ud83d"}\n'
    b'{"text": " \\n "}\n{"text": "last"}\n'
)


def test_bad_json_lines_replaced_or_skipped(folder):
    (folder / "a.jsonl").write_bytes(BAD_LINES)
    corpus = TextFiles("a.jsonl", text_field="text", on_bad_text="replace")
    assert ["".join(document.pieces()) for document in corpus.documents()] == [
        "good",
        "\ufffd",
        "nul \ufffd",
        "half \ufffd",
        "last",
    ]
    assert corpus.report() == {"replaced_sequences": 3, "empty_documents": 1}
    corpus = TextFiles("a.jsonl", text_field="text", on_bad_text="skip")
    assert [document.source for document in corpus.documents()] == ["a.jsonl:1", "a.jsonl:6"]
    assert corpus.report() == {"skipped_documents": 3, "empty_documents": 1}


def test_nothing_bad_nothing_reported(folder):
    (folder / "a.txt").write_text("good")
    for policy in ("error", "replace", "skip"):
        corpus = TextFiles("a.txt", text_field="text", on_bad_text=policy)
        assert ["".join(document.pieces()) for document in corpus.documents()] == ["good"]
        assert corpus.report() == {}
