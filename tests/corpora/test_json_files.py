"""JSON lines with labels, and with words and tags."""

import json

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.errors import InputError

LABELLED, TAGGED = ("text", "label"), ("words", "tags")


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Returns a function that writes records to a file and opens it."""
    monkeypatch.chdir(tmp_path)

    def opened(*records, fields=LABELLED, text_field="text", on_bad_text="error", **how):
        content = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (tmp_path / "a.jsonl").write_text("\n".join(content) + "\n")
        return open_corpus(
            "jsonl:a.jsonl", text_field=text_field, on_bad_text=on_bad_text, fields=fields, **how
        )

    return opened


def read(corpus):
    return [(document.source, "".join(document.pieces()), document.label) for document in corpus.documents()]


def refused(corpus):
    with pytest.raises(InputError) as error:
        list(corpus.documents())
    return str(error.value)


def test_labels_are_strings_numbers_and_booleans(lines):
    corpus = lines(
        {"text": "a", "label": "pos"}, '{"text": "b", "label": 7}', '{"text": "c", "label": 4.0}', "",
        {"text": "d", "label": True},
    )  # fmt: skip
    assert read(corpus) == [
        ("a.jsonl:1", "a", "pos"), ("a.jsonl:2", "b", "7"), ("a.jsonl:3", "c", "4.0"),
        ("a.jsonl:5", "d", "true"),
    ]  # fmt: skip


def test_fields_by_name(lines):
    record = {"meta": {"body": "a"}, "stars": 5}
    assert read(lines(record, text_field="meta.body", label_field="stars")) == [("a.jsonl:1", "a", "5")]


@pytest.mark.parametrize("name", ["text", "words", "tokens"])
def test_words_and_tags(lines, name):
    corpus = lines({name: ["in", "Hanoi"], "tags": ["O", "B-loc"]}, fields=TAGGED)
    (document,) = corpus.documents()
    assert [(word.text, word.tag) for word in document.words] == [("in", "O"), ("Hanoi", "B-loc")]
    assert document.words[1].source == "a.jsonl:1 word 2" and "".join(document.pieces()) == "in Hanoi"
    (document,) = lines({name: ["in", "Hanoi"]}, fields=("words",)).documents()
    assert [word.tag for word in document.words] == [None, None]


WRONG = [
    (LABELLED, {"text": "a"}, "a.jsonl:2: no field 'label': name the one with the label"),
    (LABELLED, {"text": "a", "labels": "x"}, "a.jsonl:2: no field 'label' (did you mean 'labels'?)"),
    (LABELLED, {"txt": "a", "label": "x"}, "a.jsonl:2: no field 'text'"),
    (LABELLED, {"text": 5, "label": "x"}, "a.jsonl:2: the field 'text' is a JSON number"),
    (LABELLED, {"text": "a", "label": None}, "a.jsonl:2: the field 'label' is a JSON null"),
    (LABELLED, {"text": "a", "label": ["x"]}, "a.jsonl:2: the field 'label' is a JSON array"),
    (LABELLED, {"text": "a", "label": " "}, "a.jsonl:2: the label is empty"),
    (LABELLED, {"text": "", "label": "x"}, "a.jsonl:2: the text is empty"),
    (LABELLED, {"text": "a\0", "label": "x"}, "a.jsonl:2: a NUL at character 1 of the text"),
    (LABELLED, '{"text": "a", "label": "x", "label": "y"}', "a.jsonl:2: the field 'label' comes more than"),
    (LABELLED, "[1]", "a.jsonl:2: a JSON array: expected an object with text"),
    (LABELLED, "{", "a.jsonl:2: not JSON"),
    (TAGGED, {"words": ["a", "b"], "tags": ["O"]}, "a.jsonl:2: 2 words and 1 tags: expected"),
    (TAGGED, {"words": ["a", ""], "tags": ["O", "O"]}, "a.jsonl:2: number 2 of the words in the field"),
    (TAGGED, {"words": ["a", 3], "tags": ["O", "O"]}, "a.jsonl:2: number 2 of the words in the field"),
    (TAGGED, {"words": ["a"], "tags": [None]}, "a.jsonl:2: number 1 of the tags in the field"),
    (TAGGED, {"words": "a b", "tags": ["O"]}, "a.jsonl:2: the field 'words' is a JSON string"),
    (TAGGED, {"words": [], "tags": []}, "a.jsonl:2: no words"),
    (TAGGED, {"words": ["a"]}, "a.jsonl:2: no field 'tags': name the one with"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "record", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_with_file_and_line(lines, fields, record, message):
    good = {"text": "good", "label": "x"} if fields == LABELLED else {"words": ["good"], "tags": ["O"]}
    assert refused(lines(good, record, fields=fields)).startswith(message)
    corpus = lines(good, record, good, fields=fields, on_bad_text="skip")
    assert len(list(corpus.documents())) == 2 and corpus.report() == {"skipped_documents": 1}
