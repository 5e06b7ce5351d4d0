"""Marks between documents within one file."""

import re
from collections.abc import Iterable, Iterator

from lm_keras.corpora.documents import LONGEST_LINE, PIECE_BYTES, within_line
from lm_keras.errors import InputError

MARKS = (
    re.compile(r"<\|(?:endoftext|end_of_text)\|>|</s>(?=\s*$|\n)|<eos>(?=\s*$|\n)"),
    re.compile(r"<\|(?:startoftext|begin_of_text)\|>"),
)
"""Marks that other programs put behind and before documents; those behind them are looked for first."""

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def mark_in(text: str) -> str | None:
    """Return the first mark in a text that other programs put between documents, or None."""
    if "<|" not in text and "</s>" not in text and "<eos>" not in text:  # Much faster than the expression.
        return None
    for marks in MARKS:
        if found := marks.search(text):
            return found[0]
    return None


def parsed_separator(given: str | None) -> str | None:
    r"""Return the text that `--document_separator` stands for, in which \n, \r, \t and \\ are escapes.

    Raises:
        InputError: there is another escape in it.

    Example:
        >>> parsed_separator(r"\n\n")
        '\n\n'
    """
    if not given:
        return None
    parts = re.split(r"(\\.?)", given, flags=re.DOTALL)
    for part in parts[1::2]:
        if part[1:] not in ESCAPES:
            raise InputError(
                f"--document_separator={given}: {part!r} stands for nothing: expected \\n, \\r or \\t, and \\\\ for a backslash"
            )
    return "".join(ESCAPES[part[1:]] if part.startswith("\\") else part for part in parts)


def sections(pieces: Iterable[str], separator: str) -> Iterator[tuple[int, str]]:
    r"""Divide a text at a separator; yield the number of a section with a piece of it, in turn.

    The separator itself and a line end directly behind it are left out. Every section has a piece, maybe an empty one, so
    the last number is that of separators.

    Example:
        >>> list(sections(["a\nb<e", "nd>\nc<end>d"], "<end>"))
        [(0, 'a\nb'), (1, 'c'), (2, 'd')]
    """
    number, rest, begun = 0, "", True
    for piece in pieces:
        *whole, rest = (rest + piece).split(separator)
        for part in whole:
            yield number, part if begun else _without_line_end(part)
            number, begun = number + 1, False
        if len(rest) > PIECE_BYTES and (end := _cut(rest, len(rest) - len(separator))):
            yield number, rest[:end] if begun else _without_line_end(rest[:end])
            rest, begun = rest[end:], True
    yield number, rest if begun else _without_line_end(rest)


def _cut(text: str, limit: int) -> int:
    """Return where the beginning of a text can be cut off before `limit`; 0 to wait for the end of its line."""
    end = text.rfind("\n", 0, limit) + 1
    if end or limit < LONGEST_LINE:
        return end
    line = text[:limit].encode()
    return len(line[: within_line(line)].decode())


def _without_line_end(text: str) -> str:
    return text[2:] if text.startswith("\r\n") else text.removeprefix("\n")
