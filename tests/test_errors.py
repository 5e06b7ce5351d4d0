"""One line for every error, whatever is in the names that it tells."""

import pytest

from lm_keras.errors import LONGEST_REASON, InputError, nearest, reason_of, shown


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a  b.txt is empty", "a  b.txt is empty"),
        ("the corpus\n  is empty\n", "the corpus is empty"),
        ("one\r\n\r\n two\u2028three\x85four", "one two three four"),
        ("red \x1b[31m, half \ud800, tab\t.", r"red \x1b[31m, half \ud800, tab\t."),
        ("Grün 月", "Grün 月"),
        ("", ""),
    ],
)
def test_an_error_is_one_line_that_prints(message, line):
    assert str(InputError(message)) == line
    assert line.isprintable()


def test_a_name_is_shown_with_what_does_not_print():
    assert shown("two\nlines\udcff") == r"two\nlines\udcff"
    assert shown("a b") == "a b"


def test_nearest():
    assert nearest("cosin", ["cosine", "linear"]) == " (did you mean 'cosine'?)"
    assert nearest("cosin", ["cosine", "linear"], cutoff=0.95) == ""
    assert nearest("zzz", ["cosine", "linear"]) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Socket closed", "Socket closed"),
        ("", "ValueError"),
        ("Graph execution error:\n\n", "ValueError"),
        ("{{function_node f}} OOM\n\t [[{{node f}}]]\nHint: more\n [Op:f]", "OOM"),
        ("/disk/events; No space left on device\n\tFailed to flush", "No space left on device"),
        (
            (
                "Graph execution error:\n\nDetected at node f defined at (most recent call last):\n<stack"
                " traces unavailable>\nLost"
            ),
            "Lost",
        ),
    ],
)
def test_why_something_failed(text, reason):
    assert reason_of(ValueError(text)) == reason


def test_a_long_reason_is_cut_where_that_can_be_seen():
    assert reason_of(ValueError("x" * 500)) == (LONGEST_REASON - 1) * "x" + "…"
