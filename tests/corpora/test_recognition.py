"""A file is read as what it holds, whatever its name; what only looks like something else is read
and told.
"""

import bz2
import gzip
import json
import os
import re
import shlex
import subprocess

import pytest

from lm_keras.corpora import make_splits, open_corpus
from lm_keras.corpora.encodings import advice_on, utf16_of
from lm_keras.corpora.json_lines import MISSING, Field
from lm_keras.corpora.separators import mark_in, parsed_separator, sections
from lm_keras.errors import InputError

RECORDS = "".join(json.dumps({"text": f"text {number}"}) + "\n" for number in range(30))
TEXTS = [f"text {number}" for number in range(30)]
PROSE = "".join(f"The cat, {number}, sees a tree.\n" for number in range(40))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(name, content, on_bad_text="error", **settings):
    """Write a file, read it as a corpus, and return its documents and remarks."""
    with open(name, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    corpus = open_corpus(f"text:{name}", **{"text_field": "text", "on_bad_text": on_bad_text, **settings})
    for _ in range(2):  # Reading again says nothing again.
        documents = ["".join(document.pieces()) for document in corpus.documents()]
    return documents, corpus.remarks(), corpus


def refusal(name, content, **settings):
    with pytest.raises(InputError) as caught:
        read(name, content, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.ndjson", "a.json", "a.JSONL", "a.json.gz", "a.txt", "a.gz", "a"]
)
def test_json_lines_of_any_name(name):
    content = gzip.compress(RECORDS.encode()) if name.endswith(".gz") else RECORDS
    documents, remarks, _ = read(name, content)
    assert documents == TEXTS
    assert bool(remarks) == (name in ("a.txt", "a.gz", "a"))


@pytest.mark.parametrize(
    "content",
    [
        PROSE,
        "[Verse 1]\nThe cat\n" * 9,
        "{a} = {b}\n" * 9,
        "{\n  int i;\n}\n" * 9,
        "a,b\nc\nd,e\nf\ng\nh\n",
        "Well, he said\nso, she did\n" * 9,
        "one\ttwo\nno tab\n" * 9,
        "ä\ufffd∀𝒳\n" * 9,
        "%PDF is a format\nPAR1 is none\nBZh\n",
        "5 < 6 | 7\n</s\n" * 9,
        "%PDF-files and\n" + "x" * 242 + "ustar archives\n",
        "{\\rtfm is a macro}\n",
        "PAR1 is a course\nPAR1",
        '["Hello", she said]\nand left the cat alone\n',
        '{"name": is what they call it}\n' * 9,
        "\tint i;\n" * 9,
        "Monday, rain\nTuesday, sun\nWednesday, fog\nThursday, sun\nFriday, rain\n",
        "<html-like> words, <?xml too\n",
        "<?xml is how XML begins\n",
    ],
)
def test_text_that_only_looks_odd_is_text(content):
    assert read("a.txt", content)[:2] == ([content], [])


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        ("a\tb\n" * 9, "a.txt looks like a table of 2 columns with tabs"),
        ("id,text\n" + "1,x\n" * 9, "a.txt looks like a table of 2 columns with commas"),
        ('{"body": "a"}\n' * 9, "a.txt looks like JSON lines without the field 'text'"),
        ('{"body": "a"}\n' * 9 + "null\n", "a.txt looks like JSON lines without the field 'text'"),
        ('[{"text": "a"}, {"text": "b"}, {"te', "a.txt looks like JSON:"),
        ('[\n {"text": "a"},\n {"text": "b"}]\n', "a.txt looks like JSON:"),
        ("<!DOCTYPE html>\n<p>a</p>\n", "a.txt looks like HTML"),
        ("a\r\nb\r\n", "a.txt: line ends of Windows"),
        ("a\rb\r", "a.txt: carriage returns without line feeds"),
        ("a\n\ufeffb\n", "a.txt: byte order marks (U+FEFF) in the middle"),
        ("a<|endoftext|>\n<|startoftext|>b", "a.txt: <|endoftext|> is read as text"),
        ("<s>\na\n</s>\n<s>\nb\n</s>\n", "a.txt: </s> is read as text"),
    ],
)
def test_suspected_files_are_read_and_told(content, remark):
    documents, remarks, _ = read("a.txt", content)
    assert documents == [content]
    assert len(remarks) == 1 and remarks[0].startswith(remark)


@pytest.mark.parametrize("policy", ["error", "replace", "skip"])
@pytest.mark.parametrize(
    ("name", "content", "start"),
    [
        ("a.txt", gzip.compress(b"text", mtime=0), "a.txt is a gzip file: expected that name to end in .gz"),
        ("a.gz", gzip.compress(gzip.compress(b"text", mtime=0), mtime=0), "a.gz was packed by gzip twice"),
        ("a.gz", gzip.compress(b"PK\x03\x04" + bytes(30) + b"xl/", mtime=0), "a.gz is an Excel file"),
        ("a.txt", bz2.compress(b"text"), "a.txt is a bzip2 file"),
        ("a.gz", b"\x28\xb5\x2f\xfd" + bytes(9), "a.gz is a zstd file"),
        ("a.txt", b"PAR1" + bytes(99) + b"PAR1", "a.txt is a Parquet file"),
        ("a.txt", bytes(257) + b"ustar\0", "a.txt is a tar archive"),
        ("a.txt", PROSE.encode("utf-16-be"), "a.txt: a NUL byte at byte 0, line 1: expected UTF-8 text; it "
            "looks like UTF-16BE"),
        ("a.csv", 'id,text\n1,"a, b"\n2,c\n', "a.csv is a table of 2 columns (id, text): expected text"),
        ("a.tsv", "a b\tc\nd\te\n", "a.tsv is a table of 2 columns: expected text"),
        ("a.json", '[{"text": "a"}]', "a.json is one JSON array"),
        ("a.jsonl", "[\n" + '{"text": "a"},\n' * 9999, "a.jsonl is one JSON array"),
        ("a.json", '{\n "text": "a"\n}', "a.json is JSON over several lines"),
    ],
)  # fmt: skip
def test_what_is_certainly_no_text_is_refused(policy, name, content, start):
    assert refusal(name, content, on_bad_text=policy).startswith(start)


LONG_RECORD = json.dumps({"text": "word " * 2**15}) + "\n"


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "part-00000"])
def test_json_lines_are_known_by_a_long_first_record(name):
    content = ("\n" + LONG_RECORD + RECORDS).encode()
    documents, remarks, _ = read(name, gzip.compress(content) if name.endswith(".gz") else content)
    assert documents == ["word " * 2**15, *TEXTS]
    assert len(remarks) == 1 and remarks[0].startswith(f"{name} holds JSON lines")


@pytest.mark.parametrize("bad", ["null\n", "[]\n", '{"text": nul\n', '{"text": null}\n'])
def test_json_lines_are_known_by_most_lines(bad):
    assert read("a.txt", bad + RECORDS, on_bad_text="skip")[0] == TEXTS
    assert refusal("a.txt", bad + RECORDS).startswith("a.txt:1: ")


LINES = "".join(f"line {number}\n" for number in range(40))
TABLES = {
    "commas.csv": (
        "text,label\r\n", f'"The ""cat"", {{0}}\n{LINES}",1\r\n', f'The "cat", {{0}}\n{LINES}', "csv"
    ),
    "long fields.csv.gz": (
        "id,text\n", '1,"{0}' + "word " * 2**15 + '"\n', "{0}" + "word " * 2**15, "csv"
    ),
    "it's $HOME `a`.csv": ("text;label\n", "cat {0};1\n", "cat {0}", "csv"),
    "bars.csv": ("text|label\n", "cat {0}|1\n", "cat {0}", "csv"),
    "a, b [1].tsv": ("text\tlabel\n", "a cat {0}\t1\n", "a cat {0}", "tsv"),
    "-tabs.tsv": ("text\tlabel\n", '"The cat {0}\t1\n', '"The cat {0}', "tsv"),
    "quotes.tsv": ("text\tlabel\n", '"a\ttab, {0}"\t1\n', "a\ttab, {0}", "csv"),
}  # fmt: skip
"""Name of a file -> its first row, the form of the others, that of their texts, and the source for it."""


@pytest.mark.parametrize("name", TABLES)
def test_the_flags_for_a_table_read_a_column_of_it(name):
    begin, row, text, scheme = TABLES[name]
    content = ("\ufeff" + begin + "".join(row.format(number) for number in range(3))).encode()
    line = refusal(name, gzip.compress(content) if name.endswith(".gz") else content)
    (flag,) = shlex.split(re.search(r"take (--corpus=.*) --text_field=COLUMN; to learn the table", line)[1])
    assert flag == f"--corpus={scheme}:{name}"
    corpus = open_corpus(flag.removeprefix("--corpus="), text_field="text", on_bad_text="error")
    documents = ["".join(document.pieces()) for document in corpus.documents()]
    assert documents == [text.format(number) for number in range(3)]


@pytest.mark.parametrize("name", ["two words.txt", "two words.txt.gz"])
@pytest.mark.parametrize(("content", "mended"), [("a\r\nb\r\n", "a\nb\n"), ("a\n\ufeffb\n", "a\nb\n")])
def test_the_command_of_a_remark_mends_the_file(name, content, mended, tmp_path):
    packed = name.endswith(".gz")
    _, (remark,), _ = read(name, gzip.compress(content.encode()) if packed else content)
    command = re.search(r"(gunzip|sed) .*?(?= takes them out|$)", remark)[0]
    subprocess.run(["bash", "-c", command], check=True, cwd=tmp_path)
    assert os.listdir(tmp_path) == [name]
    left = (tmp_path / name).read_bytes()
    assert (gzip.decompress(left) if packed else left).decode() == mended


def test_a_table_that_is_none_is_read_and_told():
    documents, remarks, _ = read("a.csv", "a,b\nc\nd,e,f\n")
    assert documents == ["a,b\nc\nd,e,f\n"]
    assert remarks == [
        "a.csv is named as a table, but the same columns are not found in all its lines: it is read as text,"
        " as it stands"
    ]


def test_remarks_name_the_first_file_and_count_the_others(folder):
    for number in range(3):
        (folder / f"{number}.txt").write_bytes(b"a\r\nb\r\n")
    corpus = open_corpus("text:*.txt", text_field="text", on_bad_text="error")
    make_splits(corpus, fractions=(100, 0, 0))
    assert len(corpus.remarks()) == 1
    assert corpus.remarks()[0].startswith("0.txt: ") and corpus.remarks()[0].endswith(
        " (2 more files are like that)"
    )


def test_nested_fields():
    record = {"meta": {"text": "a", "x": {"y": "b"}}, "meta/x": "c", "d.e": "d", "n": None}
    found = {
        name: Field(name).of(record)
        for name in ("meta/text", "meta.text", "meta/x/y", "meta/x", "d.e", "n", "meta/no")
    }
    assert found == {
        "meta/text": "a", "meta.text": "a", "meta/x/y": "b", "meta/x": "c", "d.e": "d", "n": None,
        "meta/no": MISSING,
    }  # fmt: skip
    with pytest.raises(
        InputError, match=r"^no field 'text' \(did you mean 'meta/text'\?\): the fields there are"
    ):
        Field("text").text(json.dumps(record))
    with pytest.raises(InputError, match="the field 'text' comes more than once"):
        Field("meta/text").text('{"meta": {"text": "a", "text": "b"}}')


@pytest.mark.parametrize("record", [{"text": None}, {"messages": [{"content": "a"}]}])
def test_no_field_is_advised_where_none_holds_a_string(record):
    line = refusal("a.jsonl", json.dumps(record) + "\n")
    assert line.endswith(("; none of them holds a string", "; no other field holds one"))
    assert "--text_field" not in line


BAD_RECORDS = '{"text": "a"}\n{"text": null}\n{"id": 1}\n{"text": "cut\n[]\n{"text": "b"}\n'


def test_records_without_a_text_are_left_out_and_counted():
    documents, _, corpus = read("a.jsonl", BAD_RECORDS, "skip")
    assert (documents, corpus.report()) == (["a", "b"], {"skipped_documents": 4})
    for policy in ("error", "replace"):
        line = refusal("a.jsonl", BAD_RECORDS, on_bad_text=policy)
        assert line.startswith("a.jsonl:2: ") and line.endswith("; --on_bad_text=skip leaves such lines out")
    line = refusal("a.jsonl", '{"id": 1}\n', on_bad_text="skip")
    assert line.startswith(
        "a.jsonl: nothing is left after skipping lines without a text: a.jsonl:1: no field 'text'"
    )


def test_a_mark_before_a_record_of_files_put_together():
    assert read("a.jsonl", ("\ufeff" + RECORDS) * 2)[0] == TEXTS * 2


@pytest.mark.parametrize(
    ("end", "separator"), [("<|endoftext|>\n", "<|endoftext|>"), ("\n\n", r"\n\n"), ("<e>", "<e>")]
)
def test_documents_between_separators(end, separator):
    content = end + "".join(f"a {number}\nb{end}" for number in range(23)) + end
    documents, remarks, corpus = read("a.txt", content, document_separator=separator)
    assert documents == [f"a {number}\nb" for number in range(23)]
    assert (remarks, corpus.report()) == ([], {"empty_documents": 1})


def test_a_separator_that_is_nowhere_is_told():
    for name, content, what in (
        ("a.txt", PROSE, "is nowhere"),
        ("a.jsonl", '{"text": "a###b"}\n', "divides no text"),
    ):
        _, remarks, _ = read(name, content, document_separator="###")
        assert len(remarks) == 1 and remarks[0].startswith(f"the document separator '###' {what} in text:")
    with pytest.raises(InputError, match="stands for nothing"):
        parsed_separator(r"\d")


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_sections_wherever_pieces_are_cut(size, monkeypatch):
    monkeypatch.setattr("lm_keras.corpora.separators.PIECE_BYTES", 20)
    text = "ab\ncd<end>\nef\n" * 9 + "gh" * 30 + "\n<end><end>x\r\n<end>\r\ny<en"
    found = {}
    for number, piece in sections([text[at : at + size] for at in range(0, len(text), size)], "<end>"):
        found[number] = found.get(number, "") + piece
    parts = text.split("<end>")
    assert list(found.values()) == [
        part.removeprefix("\r\n").removeprefix("\n") if number else part for number, part in enumerate(parts)
    ]


def test_other_marks_beside_the_separator_are_told():
    _, remarks, _ = read("a.txt", "<|startoftext|>a<|endoftext|>" * 9, document_separator="<|endoftext|>")
    assert len(remarks) == 1 and remarks[0].startswith("a.txt: <|startoftext|> is read as text")


def test_a_huge_document_between_separators_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr("lm_keras.corpora.text_files.LONGEST_RECORD", 50)
    assert read("a.txt", "a\n<e>\n" + PROSE + "<e>b", document_separator="<e>")[0] == ["a\n", PROSE, "b"]


def test_marks():
    assert mark_in("a | b <|endoftext|>") == "<|endoftext|>"
    assert mark_in("|" * 99 + "<|startoftext|>") == "<|startoftext|>"
    assert mark_in("a</s>\nb") == "</s>"
    assert mark_in("a <b>| </s>x <| end |>") is None


@pytest.mark.parametrize(
    ("text", "encoding", "advice"),
    [
        ("café naïve “quoted”\n", "cp1252", "it looks like Windows-1252: convert it (iconv -f WINDOWS-1252"),
        ("Straße\n", "latin-1", "it looks like Windows-1252"),
        ("Кошка видит дерево\n", "cp1251", "it looks like text in another encoding, such as WINDOWS-1251 or "
            "KOI8-R"),
        ("你好世界，这是一个测试。\n", "gb18030", "it looks like text in another encoding, such as GB18030"),
        ("Zażółć gęślą jaźń\n", "cp1250", "it looks like text in another encoding: convert it from that"),
    ],
)  # fmt: skip
def test_other_encodings(text, encoding, advice):
    assert advice_on((text * 5).encode(encoding)).startswith(advice)
    assert advice_on((text * 5).encode()) is None
    assert advice_on((text * 5).encode() + b"\xff") is None or text.isascii()


def test_utf16_and_binary():
    assert utf16_of(PROSE.encode("utf-16-le")) == "UTF-16LE"
    assert utf16_of(bytes(range(256)) * 9) is None
    assert advice_on(os.urandom(999)).startswith("it looks like a binary file")
