import gzip
import json
import os
import random
import unicodedata

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.corpora import text_files as module
from lm_keras.corpora.documents import LONGEST_LINE, PIECE_BYTES, Document, cut_blocks, cut_text, within_line
from lm_keras.corpora.text_files import TextFiles
from lm_keras.errors import InputError


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
    assert list(cut_blocks([], 6, within_line)) == []
    assert within_line(b"to be or") == 5
    assert within_line("to\u0301".encode()) == 1


def test_a_cut_within_a_line_changes_neither_words_nor_any_normal_form():
    """Marks, Hangul, halfwidth kana and Indic vowels join what is before them; blanks do not."""
    pick = random.Random(5)
    joining = (
        "e\u0301\u0316\u1112\u1161\u11ab\uac00\u11a8\uff76\uff9e\u0bc6\u0bbe\u09c7\u09be\ufb01月か\u3099"
    )
    seen = set()
    for blanks in ("", " "):
        for _ in range(3000):
            text = "".join(pick.choice(joining + blanks) for _ in range(pick.randint(2, 9)))
            end = len(text.encode()[: within_line(text.encode())].decode())
            first, second = text[:end], text[end:]
            seen.add(second[:1])
            for form in ("NFC", "NFD", "NFKC", "NFKD"):
                one, two = unicodedata.normalize(form, first), unicodedata.normalize(form, second)
                assert one + two == unicodedata.normalize(form, text)
            if " " in text[1:]:
                assert first.split() + second.split() == text.split()
    assert seen == {"e", "\u1112", "\uac00", "\uff76", "\ufb01", "月", "か", " ", ""}


@pytest.mark.parametrize(("unit", "size"), [(b"no blank", 8), (b"cats ", 5), ("月".encode(), 1)])
def test_a_text_without_line_feeds_needs_no_more_memory_than_any_other(folder, unit, size):
    (folder / "a.txt").write_bytes(unit * (11 * 2**20 // len(unit)))
    (document,) = TextFiles("a.txt", text_field="text", on_bad_text="error").documents()
    pieces = list(document.pieces())
    assert "".join(pieces) == (folder / "a.txt").read_text()
    assert len(pieces) == 3
    assert max(len(piece.encode()) for piece in pieces) <= LONGEST_LINE + PIECE_BYTES
    if b" " in unit:
        assert all(piece.startswith(" ") for piece in pieces[1:])


def test_bad_text_in_a_long_line_is_where_it_is_said_to_be(folder):
    (folder / "a.txt").write_bytes(b"line\n" + b"cats " * 10**6 + b"\xff")
    with pytest.raises(InputError, match=r"^a.txt: bad UTF-8 \(byte 0xFF\) at byte 5000005, line 2: "):
        texts("a.txt")


def test_links_that_lead_back_and_hidden_names(folder):
    for name in ("a/1.txt", "a/b/2.txt", ".h/3.txt", "a/.4.txt", "c/5.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("a/up", "a/b/up", "c/top"):
        os.symlink(folder, folder / name)
    os.symlink("../a/b", folder / "c" / "linked")
    assert list(texts("**/*.txt").values()) == ["a/1.txt", "a/b/2.txt", "c/5.txt"]
    assert list(texts("c/**/*.txt").values()) == ["c/5.txt", "a/b/2.txt", "a/1.txt"]
    assert list(texts("a/**").values()) == ["a/1.txt", "a/b/2.txt", "c/5.txt"]
    assert list(texts(f"{folder}/a/**/*.txt")) == list(texts(f"{folder}/**/a/**/**/*.txt"))
    assert list(texts(".h/*")) == list(texts(".*/3.txt")) == [".h/3.txt"]
    assert list(texts("[ac]/?.txt")) == ["a/1.txt", "c/5.txt"]
    assert list(texts("a/b/../1.txt")) == list(texts("*/b/../1.txt")) == ["a/b/../1.txt"]


def test_a_file_is_open_only_while_it_is_read(folder):
    for number in range(40):
        (folder / f"{number}.txt").write_text("text")
        (folder / f"{number}.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    before = len(os.listdir("/dev/fd"))
    counts = set()
    for document in TextFiles("*", text_field="text", on_bad_text="error").documents():
        for _ in document.pieces():
            counts.add(len(os.listdir("/dev/fd")) - before)
    assert counts <= {0, 1}


def test_a_json_line_that_never_ends(folder, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_RECORD", 2**20)
    (folder / "a.jsonl").write_text('{"text": "a"}\n{"text": "' + "b" * 2**21 + '"}\n')
    with pytest.raises(InputError) as caught:
        texts("a.jsonl")
    assert (
        str(caught.value)
        == "a.jsonl: more than 1,048,576 bytes without a line feed after line 1: expected one JSON object a"
        " line; cut the documents, or give them as .txt files"
    )
    monkeypatch.undo()
    assert len(texts(folder / "a.jsonl")[f"{folder}/a.jsonl:2"]) == 2**21


CHANGES = {
    "more": lambda path: path.write_text("line\n" * 10),
    "other": lambda path: path.write_text("nile\n" * 9),
    "replaced": lambda path: (path.with_name("b").write_text("line\n" * 9), os.replace(path.with_name("b"),
        path)),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_file_that_changes_between_two_readings(folder, change, name):
    (folder / name).write_text("line\n" * 9 if name == "a.txt" else '{"text": "a"}\n')
    corpus = TextFiles(name, text_field="text", on_bad_text="error")

    def read():
        return ["".join(document.pieces()) for document in corpus.documents()]

    assert read() == read()
    CHANGES[change](folder / name)
    with pytest.raises(InputError, match=f"^{name} has changed while it was read: expected the same text"):
        read()


def test_a_file_that_changes_while_it_is_read(folder):
    (folder / "a.txt").write_text("line\n" * 2**19)
    (document,) = TextFiles("a.txt", text_field="text", on_bad_text="error").documents()
    pieces = document.pieces()
    next(pieces)
    with (folder / "a.txt").open("a") as file:
        file.write("more\n")
    with pytest.raises(InputError, match=r"^a\.txt has changed while it was read"):
        list(pieces)


def test_a_named_pipe_that_takes_the_place_of_a_file(folder):
    (folder / "a.txt").write_text("text")
    (document,) = TextFiles("a.txt", text_field="text", on_bad_text="error").documents()
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    with pytest.raises(InputError, match=r"^a\.txt has changed while it was read"):
        list(document.pieces())


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
        assert (
            "".join(document.pieces())
            == "good\n\ufffdbad\nnul\ufffd\ufffd\ncut \ufffd\ngenuine \ufffd\r\nlast"
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
