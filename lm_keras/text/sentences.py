"""Long texts as parts that end where a sentence does."""

import re
from collections.abc import Callable

_ENDS = re.compile(r"(?<=[.!?…][\"'”’»)\]])\s+|(?<=[.!?…])\s+|(?<=[。！？；])(?![”’」』）])|\n+")
"""Between two sentences: white space behind the sign that ends one, or nothing in a script without spaces."""

_WITHOUT_SPACES = (("\u3000", "\u30ff"), ("\u3400", "\u9fff"), ("\uff00", "\uffef"))
"""First and last characters of Han, Kana, and their punctuation."""


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text; an abbreviation with a full stop may end one.

    Example:
        >>> sentences_of('He left. "Why?" 他很好。我也是。')
        ['He left.', '"Why?"', '他很好。', '我也是。']
    """
    return [part.strip() for part in _ENDS.split(text) if part.strip()]


def parts_of(text: str, size: Callable[[str], int], room: int) -> list[str]:
    """Return a text as parts of whole sentences, each as long as fits; a longer sentence is a part.

    Args:
        text: any text.
        size: returns the tokens of a text.
        room: tokens of a part, at most.
    """
    parts: list[str] = []
    for sentence in sentences_of(text):
        longer = together([parts[-1], sentence]) if parts else sentence
        if parts and size(longer) <= room:
            parts[-1] = longer
        else:
            parts.append(sentence)
    return parts or [text]


def together(parts: list[str]) -> str:
    """Join texts, with a space between unless a script without spaces is on either side."""
    joined = ""
    for part in filter(None, parts):
        spaced = joined and not (_without_spaces(joined[-1]) or _without_spaces(part[0]))
        joined += f" {part}" if spaced else part
    return joined


def _without_spaces(character: str) -> bool:
    return any(first <= character <= last for first, last in _WITHOUT_SPACES)
