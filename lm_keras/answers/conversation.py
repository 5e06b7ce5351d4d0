"""Labels or targets of texts that a person types: `scripts/predict.py --interactive`."""

import sys
from typing import Any, TextIO

from lm_keras.answers.answer import Answer
from lm_keras.sampling.console import each_line

_COLOURS = ("\x1b[46m", "\x1b[43m", "\x1b[42m", "\x1b[45m", "\x1b[44m", "\x1b[41m")
"""Backgrounds of the types of spans, in the order of their names; more types begin again."""

_BLACK, _PLAIN = "\x1b[30m", "\x1b[0m"

MOST_CLASSES = 5
"""Classes of a text that are listed, the likeliest ones."""


def converse(answer: Answer, color: bool) -> None:
    """Label or translate each line of standard input; end at the end of the input.

    Args:
        answer: of a task with labels or pairs.
        color: whether spans are coloured; otherwise they stand in brackets.
    """
    each_line("text", lambda text: show(answer, text, color, sys.stdout))


def show(answer: Answer, text: str, color: bool, out: TextIO) -> None:
    """Print the labels or the target of a text on one line; of a text without any, an empty line."""
    if text.strip():
        (found,) = answer.records([text], answer.usually_too_long, 1)
        answer.tell_of_long(answer.usually_too_long)
        if "target" in found:
            text = found["target"]
        else:
            text = classes_shown(found) if "label" in found else spans_shown(found, types_of(answer), color)
    out.write(text.strip() + "\n")
    out.flush()


def types_of(answer: Answer) -> list[str]:
    """Return the types of the spans that a tagger finds, sorted."""
    return sorted({name.partition("-")[2] or name for name in answer.names if name != "O"})


def classes_shown(found: dict[str, Any]) -> str:
    """Return the likeliest classes of a text with their probabilities.

    Example:
        >>> classes_shown({"probabilities": {"bad": 0.25, "good": 0.75}})
        'good 0.750  bad 0.250'
    """
    ranked = sorted(found["probabilities"].items(), key=lambda pair: -pair[1])
    return "  ".join(f"{name} {probability:.3f}" for name, probability in ranked[:MOST_CLASSES])


def spans_shown(found: dict[str, Any], types: list[str], color: bool) -> str:
    """Return a text in which each span has its type.

    Args:
        found: the text and its spans, as `Tagger.records` says.
        types: all of them, which decides their colours.
        color: whether spans are coloured; otherwise they stand in brackets.

    Example:
        >>> span = {"start": 3, "end": 8, "type": "loc"}
        >>> spans_shown({"text": "In Paris.", "spans": [span]}, ["loc"], False)
        'In [Paris loc].'
    """
    text, parts, end = found["text"], [], 0
    for span in found["spans"]:
        inner = text[span["start"] : span["end"]]
        if color:
            colour = _COLOURS[types.index(span["type"]) % len(_COLOURS)]
            inner = f"{colour}{_BLACK}{inner} {span['type']}{_PLAIN}"
        else:
            inner = f"[{inner} {span['type']}]"
        parts += [text[end : span["start"]], inner]
        end = span["end"]
    return "".join([*parts, text[end:]])
