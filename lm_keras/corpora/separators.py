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

LOOKED_AT = 2**15
"""Characters at the beginning of a piece in which marks are looked for that are words of some corpora."""

MANY_BARS = 64

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def mark_in(text: str) -> str | None:
    """Return the first mark in a text that other programs put between documents, or None."""
    if not _has_bar_in_angle(text):
        text = text[:LOOKED_AT]
        if "</s>" not in text and "<eos>" not in text:
            return None
    for marks in MARKS:
        if found := marks.search(text):
            return found[0]
    return None


def _has_bar_in_angle(text: str) -> bool:
    """Tell whether `<|` is in a text; one character is found twenty times as fast as two, and most texts have
    few bars.
    """
    place = -1
    for _ in range(MANY_BARS):
        place = text.find("|", place + 1)
        if place < 0:
            return False
        if text[place - 1 : place] == "<":
            return True
    return "<|" in text


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
                f"--document_separator={given}: {part!r} stands for nothing: expected \\n, \\r or \\t, and"
                " \\\\ for a backslash"
            )
    return "".join(ESCAPES[part[1:]] if part.startswith("\\") else part for part in parts)


def sections(pieces: Iterable[str], separator: str) -> Iterator[tuple[int, str]]:
    r"""Divide a text at a separator; yield the number of a section with a piece of it, in turn.

    The separator itself and a line end directly behind it are left out. Every section has a piece, maybe an
    empty one, so the last number is that of separators.

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
    """Return where the beginning of a text can be cut off before `limit`; 0 to wait for the end of
    its line.
    """
    end = text.rfind("\n", 0, limit) + 1
    if end or limit < LONGEST_LINE:
        return end
    line = text[:limit].encode()
    return len(line[: within_line(line)].decode())


def _without_line_end(text: str) -> str:
    return text[2:] if text.startswith("\r\n") else text.removeprefix("\n")
