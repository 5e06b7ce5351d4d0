"""How a text becomes words, and how labels are shown on a terminal."""

import io
import types

import pytest

from lm_keras.answers import conversation
from lm_keras.answers.tagger import Sentence, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("Paris.", ["Paris", "."]),
        ("(in Paris)", ["(", "in", "Paris", ")"]),
        ("wait... what?!", ["wait", "...", "what", "?", "!"]),
        ("U.S. and U.S.,", ["U.S.", "and", "U.S.", ","]),
        ("@ada #tag http://t.co/a. :)", ["@ada", "#tag", "http://t.co/a", ".", ":)"]),
        ("don't 3.5% e-mail", ["don't", "3.5%", "e-mail"]),
        ("我在北京。", ["我", "在", "北", "京", "。"]),
        ("«Genève»", ["«", "Genève", "»"]),
        ("a\u00a0b", ["a", "b"]),
    ],
)
def test_words_of_a_text(text, words):
    found = list(words_of(text))
    assert [text[begin:end] for begin, end in found] == words
    assert all(before[1] <= after[0] for before, after in zip(found, found[1:]))
    assert sum(end - begin for begin, end in found) == len("".join(text.split()))


def test_words_that_are_given():
    sentence = Sentence.of(["New York", "is", "big"])
    assert sentence.text == "New York is big"
    assert [sentence.text[begin:end] for begin, end in sentence.words] == ["New York", "is", "big"]
    assert Sentence.of([]) == Sentence("", [])


SPANS = [{"start": 0, "end": 3, "type": "person"}, {"start": 14, "end": 19, "type": "place"}]
FOUND = {"text": "Ada worked in Paris.", "spans": SPANS}


def test_spans_in_brackets_and_in_colours():
    plain = conversation.spans_shown(FOUND, ["person", "place"], False)
    assert plain == "[Ada person] worked in [Paris place]."
    colored = conversation.spans_shown(FOUND, ["person", "place"], True)
    assert colored.count("\x1b[0m") == 2
    assert colored.index("\x1b[46m") < colored.index("Ada") < colored.index("\x1b[43m")
    for code in ("\x1b[46m", "\x1b[43m", "\x1b[30m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == "Ada person worked in Paris place."


def test_more_types_than_colours():
    kinds = [f"t{number}" for number in range(20)]
    found = {"text": "x", "spans": [{"start": 0, "end": 1, "type": "t19"}]}
    assert "x t19" in conversation.spans_shown(found, kinds, True)


def test_a_conversation(monkeypatch, capsys):
    def records(inputs, too_long, batch_size):
        return [
            {"text": text, "probabilities": {"bad": 0.25, "good": 0.75}, "label": "good"} for text in inputs
        ]

    answer = types.SimpleNamespace(records=records, usually_too_long="cut_end", names=("bad", "good"))
    answer.tell_of_long = lambda too_long: None
    monkeypatch.setattr("sys.stdin", io.StringIO("fine\n\nbad \udcff\nlast"))
    conversation.converse(answer, False)
    printed = capsys.readouterr()
    assert printed.out == "good 0.750  bad 0.250\n\ngood 0.750  bad 0.250\n"
    assert printed.err.startswith("error: text has the lone surrogate")
