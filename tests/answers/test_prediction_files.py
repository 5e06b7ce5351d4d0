"""Records in, predictions out: one for each, in order; and what is wrong with a file, with its line."""

import io
import json
from pathlib import Path

import pytest

from lm_keras.answers import input_records, prediction_files
from lm_keras.answers.answer import Answer
from lm_keras.answers.input_records import InputForm, records_of
from lm_keras.answers.prediction_files import predict
from lm_keras.errors import InputError


class Lengths(Answer):
    """Stands for a classifier: the class of a text is the number of its letters."""

    task, tags_words, usually_too_long = "classification", False, "cut_end"

    def __init__(self):
        self.asked = []

    def records(self, inputs, too_long, batch_size, names):
        self.asked.append((list(inputs), too_long, batch_size))
        return [
            {"text": text, "label": f"n{len(text)}", "probability": 0.25, "probabilities": {"a": 1 / 3}}
            for text in inputs
        ]


class Initials(Answer):
    """Stands for a tagger: words with a capital letter are names."""

    tags_words, usually_too_long = True, "windows"

    def records(self, inputs, too_long, batch_size, names):
        found = []
        for given in inputs:
            words = given.split() if isinstance(given, str) else given
            text = given if isinstance(given, str) else " ".join(given)
            tags = ["B-name" if word[0].isupper() else "O" for word in words]
            found.append({"text": text, "words": words, "tags": tags, "spans": []})
        return found


@pytest.fixture
def predicted(tmp_path):
    """Write a file, predict, and return what came out."""

    def run(content, answer=None, name="in.txt", **how):
        source, target = tmp_path / name, tmp_path / "out"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = {"format": "lines", "text_field": "text", **how}
        predict(answer or Lengths(), str(source), str(target), **settings)
        return target.read_text(encoding="utf-8")

    return run


def test_a_line_for_each_line(predicted):
    assert predicted("ab\n\nabc\n \t\nä\n") == "n2\n\nn3\n\nn1\n"
    assert predicted("last without line feed") == "n22\n"
    assert predicted("") == ""
    assert predicted("\n\n") == "\n\n"


def test_only_a_line_feed_ends_a_line(predicted):
    assert predicted("a\u2028b\x0bc\x85d\n") == "n7\n"
    assert predicted("ab\r\nc\r\n") == "n2\nn1\n"
    assert predicted(b"\xef\xbb\xbfab\n") == "n2\n"


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_the_order_does_not_depend_on_how_many_are_read_at_a_time(predicted, monkeypatch, at_once):
    monkeypatch.setattr(prediction_files, "AT_ONCE", at_once)
    texts = ["a" * (number * 7 % 5) for number in range(23)]
    expected = "".join(f"n{len(text)}\n" if text else "\n" for text in texts)
    assert predicted("".join(f"{text}\n" for text in texts)) == expected


def test_settings_reach_the_answer(predicted):
    answer = Lengths()
    predicted("a\n", answer)
    predicted("a\n", answer, too_long="windows", batch_size=3)
    assert answer.asked == [(["a"], "cut_end", 16), (["a"], "windows", 3)]


def test_jsonl_has_probabilities(predicted):
    lines = predicted("ab\n\nä\n", format="jsonl").split("\n")
    assert json.loads(lines[0]) == {
        "text": "ab", "label": "n2", "probability": 0.25, "probabilities": {"a": 0.333333},
    }  # fmt: skip
    assert lines[1] == ""
    assert json.loads(lines[2])["text"] == "ä"


def test_jsonl_records_have_a_field_or_words(predicted):
    content = '{"id": 1, "sentence": "abc"}\n{"sentence": ""}\nplain\n'
    out = predicted(content, name="in.jsonl", text_field="sentence")
    assert out == "n3\n\nn5\n"
    for field in ("words", "tokens", "text"):  # As `jsonl:` reads them for training.
        words = f'{{"{field}": ["Ada", "wrote"], "n": 1}}\n'
        assert predicted(words, Initials(), name="in.jsonl") == "B-name O\n"
    words = '{"text": "abc", "words": ["Ada"]}\n'
    assert predicted(words, name="in.jsonl") == "n3\n"


def test_a_table_keeps_its_columns(predicted):
    content = "id\tsentence\n1\tabc\n\n2\tde\n"
    out = predicted(content, name="in.tsv", format="tsv", text_field="sentence")
    assert out == ("id\tsentence\tpredicted\tprobability\n1\tabc\tn3\t0.250000\n\n2\tde\tn2\t0.250000\n")
    assert predicted(content, name="in.tsv", text_field="sentence") == "n3\n\nn2\n"
    assert predicted("abc\t1\nde\t0\n", name="in.tsv", text_field="1") == "n3\nn2\n"
    assert predicted("x\ty\nde\t0\n", name="in.tsv", text_field="1", header="yes") == "n2\n"


def test_a_table_with_commas(predicted, capsys):
    content = 'id,sentence\n1,"a, b"\n\n2,"de\nfg"\n3,h\n'
    assert predicted(content, name="in.csv", text_field="sentence") == "n4\n\nn5\nn1\n"
    lines = predicted(content, name="in.csv", format="jsonl", text_field="sentence").splitlines()
    assert json.loads(lines[2])["text"] == "de\nfg"
    found = predicted("id,sentence\n1,abc\n", name="in.csv", format="tsv", text_field="sentence")
    assert found == "id\tsentence\tpredicted\tprobability\n1\tabc\tn3\t0.250000\n"
    assert predicted("1;abc\n2;de\n", name="in.csv", text_field="2") == "n3\nn2\n"
    assert "in.csv: its columns have ';' between them" in capsys.readouterr().err


def test_a_header_is_seen_as_in_training(predicted, capsys):
    content = "label\tsentence\n1\tabc\n"
    assert predicted(content, name="in.tsv", text_field="2") == "n3\n"
    assert "in.tsv:1 names the columns; --header=no reads it as data" in capsys.readouterr().err
    assert predicted(content, name="in.tsv", text_field="2", header="no") == "n8\nn3\n"
    named = predicted("kind\tsentence\n1\tabc\n", name="in.tsv", text_field="2", label_field="kind")
    assert named == "n3\n"
    assert predicted("kind\tsentence\n1\tabc\n", name="in.tsv", text_field="2") == "n8\nn3\n"


def test_lines_as_a_table(predicted):
    assert predicted("abc\n", format="tsv") == "abc\tn3\t0.250000\n"


def test_tags_stand_for_words(predicted):
    assert predicted("Ada  wrote\tit\n\nno\n", Initials()) == "B-name O O\n\nO\n"


def test_conll_lines_stay_where_they_are(predicted):
    content = "-DOCSTART-\tO\n\nAda\tB-x\nwrote\tO\n\t\n# a remark\nno\tO\n\n\n"
    out = predicted(content, Initials(), name="in.conll", format="conll")
    assert out == "-DOCSTART-\tO\n\nAda\tB-name\nwrote\tO\n\t\n# a remark\nno\tO\n\n\n"
    assert predicted("Ada\n", Initials(), name="in.conll", format="conll") == "Ada\tB-name\n"


def test_conll_words_are_those_of_training(predicted):
    universal = "# text = vamonos\n1-2\tVamonos\t_\t_\n1\tVamos\tir\tVERB\n".replace("\n", "\t_" * 6 + "\n")
    assert predicted(universal, Initials(), name="in.conll", text_field="2") == "B-name\n"
    spaces = "New York\tB-loc\n10\u00a0000\tO\n"
    out = predicted(spaces, Initials(), name="in.conll", format="conll")
    assert out == "New York\tB-name\n10\u00a0000\tO\n"
    remark = "Ada O\n# O\n# of two words\nno O\n"
    assert predicted(remark, Initials(), name="in.conll") == "B-name O O\n"
    out = predicted(remark, Initials(), name="in.conll", format="conll")
    assert out == "Ada\tB-name\n#\tO\n# of two words\nno\tO\n"


def test_conll_sentences_as_lines_and_back(predicted):
    content = "Ada\nwrote\n\n\nno\n"
    assert predicted(content, Initials(), name="in.conll") == "B-name O\nO\n"
    content = '{"words": ["Ada", "wrote"]}\n\n{"text": "no"}\n'
    out = predicted(content, Initials(), name="in.jsonl", format="conll")
    assert out == "Ada\tB-name\nwrote\tO\n\n\nno\tO\n\n"


@pytest.mark.parametrize(
    ("content", "how", "message"),
    [
        (b"ab\n\xff\n", {}, "in.txt:2 is not UTF-8 at byte 0 of the line"),
        ("ab\n".encode("utf-16"), {}, "in.txt:1 is not UTF-8 at byte 0 of the line; the file is UTF-16"),
        (b"a\0b\n", {}, "in.txt:1 has a NUL"),
        (b'{"text": "a"}\n{"tex": "b"}\n', {"name": "in.jsonl"}, "in.jsonl:2: no field 'text'"),
        (b'{"text": "a"}\n{"text": \n', {"name": "in.jsonl"}, "in.jsonl:2: "),
        (b'{"text": 5}\n', {"name": "in.jsonl"}, "in.jsonl:1: the field 'text' is a JSON number"),
        (b"a\tb\nc\n", {"name": "in.tsv", "text_field": "1"}, "in.tsv:2 has 1 columns: expected 2"),
        (b"a\tb\n", {"name": "in.tsv"}, "in.tsv:1 has no column 'text'"),
        (b"a\tb\n", {"name": "in.tsv", "text_field": "3"}, "in.tsv:1 has no column '3'"),
        (
            b'{"text": "a"}\n{"text": "b\\tc"}\n',
            {"name": "in.jsonl", "format": "tsv"},
            "in.jsonl:2: 'b\\tc' has a tab or a line feed",
        ),
        (
            b'{"words": ["a", 5]}\n',
            {"name": "in.jsonl", "answer": Initials()},
            "in.jsonl:1: an array of words",
        ),
        (
            b"a O\nb c O\n",
            {"name": "in.conll", "answer": Initials()},
            "in.conll:2 has 3 columns, and the first",
        ),
        (b"a\tO\n \tO\n", {"name": "in.conll", "answer": Initials()}, "in.conll:2: the word is empty"),
        (b"a\n", {"format": "conll"}, "--format=conll is for words with tags"),
        (b'1,"a\n', {"name": "in.csv", "text_field": "2"}, "in.csv:1: a quote is opened in this row"),
        (b"1,a\n2\n", {"name": "in.csv", "text_field": "2"}, "in.csv:2 has 1 columns: expected 2"),
        (
            b'1,"a\tb"\n',
            {"name": "in.csv", "text_field": "2", "format": "tsv"},
            "in.csv:1: 'a\\tb' has a tab or a line feed",
        ),
    ],
)
def test_faults_have_a_line(predicted, content, how, message):
    with pytest.raises(InputError) as error:
        predicted(content, **how)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_fault_leaves_the_earlier_file(predicted, tmp_path):
    (tmp_path / "out").write_text("earlier\n")
    with pytest.raises(InputError):
        predicted(b"good\n\xff\n")
    assert (tmp_path / "out").read_text() == "earlier\n"
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", "out"}


def test_files_that_cannot_be_read_or_written(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("a\n")
    for paths in ((tmp_path / "none.txt", tmp_path / "out"), (source, source / "out")):
        with pytest.raises(InputError, match=r"cannot (be read|write)"):
            predict(Lengths(), *map(str, paths), format="lines", text_field="text")


def test_standard_input_and_output(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\n\n")))
    predict(Lengths(), "-", "-", format="lines", text_field="text")
    printed = capsys.readouterr()
    assert printed.out == "n2\n\n"
    assert printed.err.startswith("1 texts in ")


def test_a_line_without_an_end(monkeypatch):
    monkeypatch.setattr(input_records, "LONGEST_LINE", 10)
    reading = InputForm("f", "lines", False, "text")
    assert [record.asked for record in records_of(io.BytesIO(b"a" * 9 + b"\n"), reading)] == ["a" * 9]
    with pytest.raises(InputError, match="a line of more than 10 bytes"):
        list(records_of(io.BytesIO(b"a" * 11), reading))


def test_a_device_stays_a_device(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("a\n")
    predict(Lengths(), str(source), "/dev/null", format="lines", text_field="text")
    assert not Path("/dev/null").is_file()


def test_a_single_column_needs_no_name(predicted):
    assert predicted("abc\nde\n", name="in.tsv") == "n3\nn2\n"
    assert predicted("text\nde\n", name="in.tsv") == "n2\n"
    assert predicted("text\nde\n", name="in.tsv", header="no") == "n4\nn2\n"
