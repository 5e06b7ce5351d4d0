"""Conversations of JSON lines and of the standard library."""

import doctest
import itertools
import json

import pytest

from lm_keras.conversations.messages import Message
from lm_keras.corpora import describe, open_corpus, python_docs, questions
from lm_keras.errors import InputError

HELLO, HI = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}


def opened(spec, on_bad_text="error", fields=("messages",)):
    return open_corpus(spec, text_field="text", on_bad_text=on_bad_text, fields=fields)


def written(path, *records):
    path.write_text("".join(json.dumps({"messages": record}) + "\n" for record in records))
    return path


def test_a_line_is_a_conversation(tmp_path):
    first = written(
        tmp_path / "a.jsonl", [HELLO, HI], [{"role": "system", "content": "Be brief."}, HELLO, HI]
    )
    second = written(tmp_path / "b.jsonl", [HELLO, HI, {**HELLO, "content": "Bye\nnow"}, HI])
    found = list(opened(f"jsonl:{first},{second}").documents())
    assert [document.source for document in found] == [f"{first}:1", f"{first}:2", f"{second}:1"]
    assert found[1].messages[0] == Message("system", "Be brief.") and len(found[2].messages) == 4
    assert "".join(found[0].pieces()) == "user\nHello\nassistant\nHi.\n"


def test_bad_text_is_replaced_or_left_out(tmp_path):
    path = written(tmp_path / "a.jsonl", [HELLO, HI], [{**HELLO, "content": "a\0b\udcff"}, HI], [HELLO])
    with pytest.raises(InputError, match=r"a.jsonl:2"):
        list(opened(f"jsonl:{path}").documents())
    corpus = opened(f"jsonl:{path}", "skip")
    assert len(list(corpus.documents())) == 1 and sum(corpus.report().values()) == 2
    written(path, [{**HELLO, "content": "a\0b\udcff"}, HI])
    (document,) = opened(f"jsonl:{path}", "replace").documents()
    assert document.messages[0].content == "a\ufffdb\ufffd"


def test_where_a_message_ends_belongs_to_the_fingerprint(tmp_path):
    """The text of both is the same; control: the same conversation once more."""
    one = [{**HELLO, "content": "a\nassistant\nb"}, HI]
    other = [{**HELLO, "content": "a"}, {"role": "assistant", "content": "b"}, HI]
    found = [
        describe(opened(f"jsonl:{written(tmp_path / name, record)}")).sha256
        for name, record in (("a.jsonl", one), ("b.jsonl", other), ("c.jsonl", one))
    ]
    assert found[0] != found[1] and found[0] == found[2]


def test_questions_about_the_library(monkeypatch):
    """The first files of it, to save time."""
    files = list(itertools.islice(python_docs.library_sources(), 150))
    monkeypatch.setattr(python_docs, "library_sources", lambda: files)
    found = doctest.testmod(questions)
    assert found.attempted > 0 and found.failed == 0
    documents = list(opened("python-docs:questions").documents())
    asked = [document.messages[0].content for document in documents]
    assert len(documents) > 300 and len(set(asked)) == len(asked)
    assert 'What is "argument parser"?' in asked and all("_" not in question for question in asked)
    answers = [document.messages[1].content for document in documents]
    assert all(3 <= len(text.split()) <= 25 and text.endswith(".") for text in answers)
    (text, *_) = opened("python-docs:questions", fields=("text",)).documents()
    assert text.messages is None and "".join(text.pieces()) == f"{asked[0]}\n{answers[0]}\n"
    with pytest.raises(InputError, match="expected python-docs:questions"):
        opened("python-docs:names")
