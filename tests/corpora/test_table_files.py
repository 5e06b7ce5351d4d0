"""Tables: which row names the columns, which column is which, and what is wrong in a row."""

import gzip

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.errors import InputError

BOTH = ("text", "label")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Returns a function that writes files, each `name=content`, and opens them as a corpus."""
    monkeypatch.chdir(tmp_path)

    def opened(content, name="a.tsv", fields=BOTH, text_field="text", on_bad_text="error", **how):
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(content)
        scheme = "csv" if ".csv" in name else "tsv"
        return open_corpus(
            f"{scheme}:{name}", text_field=text_field, on_bad_text=on_bad_text, fields=fields, **how
        )

    return opened


def read(corpus):
    return [(document.source, "".join(document.pieces()), document.label) for document in corpus.documents()]


def refused(corpus):
    with pytest.raises(InputError) as error:
        list(corpus.documents())
    return str(error.value)


def test_a_table_without_names_as_sst2(table):
    corpus = table("a good film\t1\na bad one\t0\nso so\t1")
    assert read(corpus) == [
        ("a.tsv:1", "a good film", "1"), ("a.tsv:2", "a bad one", "0"), ("a.tsv:3", "so so", "1"),
    ]  # fmt: skip
    assert corpus.remarks() == ["a.tsv: the text is column 1 and the label column 2"]
    assert read(corpus) == read(corpus) and len(corpus.remarks()) == 1


def test_windows_line_ends_and_marks_and_empty_lines_are_no_part_of_a_record(table):
    corpus = table(b"\xef\xbb\xbfgood\tpos\r\n\r\nbad\tneg\r\n\xef\xbb\xbffine\tpos\r\n")
    assert read(corpus) == [
        ("a.tsv:1", "good", "pos"), ("a.tsv:3", "bad", "neg"), ("a.tsv:4", "fine", "pos"),
    ]  # fmt: skip


def test_packed(table):
    assert read(table(gzip.compress(b"good\tpos\nbad\tneg\n"), "a.tsv.gz"))[1] == ("a.tsv.gz:2", "bad", "neg")


def test_quotes_are_letters_in_tsv_and_enclose_fields_in_csv(table):
    assert read(table('"so "good"\tpos\nbad"\tneg\n'))[0][1] == '"so "good"'
    corpus = table('label,text\npos,"so ""good"", he said,\nand\r\nleft"\nneg,bad\n', "a.csv")
    assert read(corpus) == [
        ("a.csv:2", 'so "good", he said,\nand\nleft', "pos"),
        ("a.csv:5", "bad", "neg"),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_of_csv(table, delimiter):
    corpus = table(f'text{delimiter}label\n"a, b"{delimiter}x\nc{delimiter}y\n', "a.csv")
    assert [row[1:] for row in read(corpus)] == [("a, b", "x"), ("c", "y")]
    assert f"a.csv: its columns have {delimiter!r} between them" in corpus.remarks()


THREE, ROWS_OF_THREE = "id\treview\tmood", "1\tgood\tpos\n2\tbad\tneg\n"
HEADERS = [
    ("text\tlabel", "good\tpos\nbad\tneg\n", {}, ("good", "pos")),
    ("label\ttext", "pos\tgood\nneg\tbad\n", {}, ("good", "pos")),
    ("sentence\tlabel", "good\tpos\nbad\tneg\n", {}, ("good", "pos")),
    ("review\tmood", "good\tpos\nbad\tneg\nfine\tpos\nok\tneg\n", {}, ("good", "pos")),
    ("类别\t评论", "体育\t他赢了\n财经\t涨\n体育\t输\n财经\t跌\n", {}, ("他赢了", "体育")),
    (THREE, ROWS_OF_THREE, {"text_field": "review", "label_field": "mood"}, ("good", "pos")),
    (THREE, ROWS_OF_THREE, {"text_field": "2", "label_field": "3", "header": "yes"}, ("good", "pos")),
]  # fmt: skip


@pytest.mark.parametrize(("names", "rows", "how", "first"), HEADERS, ids=[row[0] for row in HEADERS])
def test_a_first_row_with_names_is_recognized_and_told_of(table, names, rows, how, first):
    corpus = table(f"{names}\n{rows}", **how)
    assert read(corpus)[0] == ("a.tsv:2", *first)
    told = [line for line in corpus.remarks() if "names the columns" in line]
    assert len(told) == 1
    # The control: told that it names nothing, it is data.
    if not how:
        corpus = table(f"{names}\n{rows}", header="no")
        assert read(corpus)[0][0] == "a.tsv:1"
        assert any("looks like names" in line for line in corpus.remarks())


DATA = [
    "great\tpos\nbad\tneg\n",
    "great\tneutral\nbad\tneg\ngood\tpos\n",  # Each label once: nothing tells that the first row is a name.
    "a film that is as good as any other of them\ttop\nbad\tneg\nworse\tneg\nworst\tneg\n",  # Too long.
    "x\ty\n",
]


@pytest.mark.parametrize("rows", DATA)
def test_a_first_row_of_data_stays(table, rows):
    corpus = table(rows)
    assert read(corpus)[0][0] == "a.tsv:1"
    assert not any("first row names" in line for line in corpus.remarks())
    # It is told where it may be names all the same.
    told = [line for line in corpus.remarks() if "if it names the columns, take --header=yes" in line]
    assert len(told) == (rows == DATA[1])


def test_the_label_is_in_the_column_with_few_values(table):
    corpus = table("".join(f"{'ab'[n % 2]}\ttext number {n}\n" for n in range(9)))
    assert read(corpus)[3] == ("a.tsv:4", "text number 3", "b")
    assert corpus.remarks() == ["a.tsv: the text is column 2 and the label column 1"]


def test_columns_by_number(table):
    corpus = table("7\tgood\tx\tpos\n8\tbad\tx\tneg\n", text_field="2", label_field="4")
    assert read(corpus) == [("a.tsv:1", "good", "pos"), ("a.tsv:2", "bad", "neg")]


def test_only_the_text_is_read_where_only_that_is_needed(table):
    assert read(table("good\t1\nbad\t0\n", fields=("text",))) == [
        ("a.tsv:1", "good", None), ("a.tsv:2", "bad", None),
    ]  # fmt: skip
    assert read(table("good\nbad\n", fields=("text",)))[1] == ("a.tsv:2", "bad", None)


WRONG = [
    ("good\tpos\nbad\tneg\tagain\n", {}, "a.tsv:2: 3 columns, and the first row has 2; write a space"),
    ("good\tpos\nbad\n", {}, "a.tsv:2: 1 column, and the first row has 2; correct it"),
    ('good\tpos\n"bad\n', {}, "a.tsv:2: 1 column, and the first row has 2; take csv: where quotes"),
    ("good\tpos\n \tneg\n", {}, "a.tsv:2: the text is empty; "),
    ("good\tpos\nbad\t \n", {}, "a.tsv:2: the label is empty; "),
    ("good\nbad\n", {}, "a.tsv: its rows have one column, and this task needs"),
    ("", {}, "a.tsv is empty: "),
    ("text\tlabel\n", {}, "a.tsv is empty: "),
    ("1\tgood\tpos\n2\tbad\tneg\n", {}, "a.tsv: no column 'text': it has 3 without names"),
    ("text\tmark\tid\na\tb\tc\n", {}, "a.tsv: no column 'label': its columns are 'text', "),
    ("text\tmark\na\tb\n", {"label_field": "marc"}, "a.tsv: no column 'marc' (did you mean 'mark'?)"),
    ("a\tb\n", {"label_field": "3"}, "a.tsv: no column '3': it has 2 without names"),
    ("text\ttext\na\tb\n", {}, "a.tsv: the column 'text' is there 2 times; give its number"),
    ("a\tb\n", {"text_field": "2", "label_field": "2"}, "a.tsv: the text and the label are both in"),
    (b"good\tpos\nb\xffd\tneg\n", {}, "a.tsv: bad UTF-8 (byte 0xFF) at byte 10, line 2: expected"),
    (b"good\tpos\nb\0d\tneg\n", {}, "a.tsv: a NUL byte at byte 10, line 2: expected"),
    ("good\tpos\nbad\tneg\n".encode("utf-16"), {}, "a.tsv: the byte order mark of UTF-16 at its start"),
    (b"PK\x03\x04xl/worksheets", {}, "a.tsv is an Excel file: expected text"),
    ('text,label\na,b\n"c,d\ne,f\n', {"name": "a.csv"}, "a.csv:3: a quote is opened in this row"),
    ('text,label\na,b\n"c"d,e\n', {"name": "a.csv"}, "a.csv:3: text behind a closing quote;"),
    ("text,label\na,b\nc,d,e\n", {"name": "a.csv"}, "a.csv:3: 3 columns, and the first row has 2; put"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "how", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_with_file_and_line(table, content, how, message):
    assert refused(table(content, **how)).startswith(message)


def test_skip_counts_what_it_leaves_out(table):
    content = b"good\tpos\nbad\tneg\tx\n\tneg\nb\xffd\tneg\nfine\tp\xffs\nfine\tpos\n"
    corpus = table(content, on_bad_text="skip")
    assert read(corpus) == [("a.tsv:1", "good", "pos"), ("a.tsv:6", "fine", "pos")]
    assert corpus.report() == {"skipped_documents": 4}
    with pytest.raises(
        InputError, match=r"a.tsv: nothing is left after skipping .*a.tsv:1: the text is empty"
    ):
        list(table("\tpos\n", on_bad_text="skip").documents())


def test_replace_puts_a_mark_for_bad_text(table):
    corpus = table(b"b\xffd\tneg\ngood\tpos\n", on_bad_text="replace")
    assert read(corpus)[0] == ("a.tsv:1", "b\ufffdd", "neg")
    assert corpus.report() == {"replaced_sequences": 1}


def test_carriage_returns_alone_are_told_of(table):
    corpus = table("good\tpos\rbad\tneg\r")
    assert refused(corpus).startswith("a.tsv:") or corpus.remarks()


def test_several_files_each_with_or_without_names(table, tmp_path):
    (tmp_path / "b.tsv").write_text("text\tlabel\nbad\tneg\n")
    (tmp_path / "a.tsv").write_text("good\tpos\n")
    corpus = open_corpus("tsv:*.tsv", text_field="text", on_bad_text="error", fields=BOTH)
    assert [row[0] for row in read(corpus)] == ["a.tsv:1", "b.tsv:2"]


def test_a_source_without_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match=r"text:a.txt: its records have no label.*tsv:GLOB, csv:GLOB, jsonl"):
        open_corpus("text:a.txt", text_field="text", on_bad_text="error", fields=BOTH)
    with pytest.raises(InputError, match=r"tsv:a.txt: its records have no words, or tags.*or conll:GLOB"):
        open_corpus("tsv:a.txt", text_field="text", on_bad_text="error", fields=("words", "tags"))


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no file a.tsv"):
        open_corpus("tsv:a.tsv", text_field="text", on_bad_text="error", fields=BOTH)
    with pytest.raises(InputError, match="the corpus csv: names no file: expected csv:GLOB"):
        open_corpus("csv:", text_field="text", on_bad_text="error", fields=BOTH)
