"""A text with special tokens in it, in tokens that know their characters.

c characters, n tokens.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Special(NamedTuple):
    """A special token in a text.

    Attributes:
        begin, end: its characters.
        token_id: the token.
    """

    begin: int
    end: int
    token_id: int


class Spelled(NamedTuple):
    """The tokens of a text.

    Attributes:
        ids: [n] int32.
        begins, ends: [n] int64, the characters of each, or of the part of the text that it belongs to.
    """

    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def moved(self, by: int) -> "Spelled":
        """Return the same behind some characters."""
        return Spelled(self.ids, self.begins + by, self.ends + by)

    @classmethod
    def of(cls, ids: Sequence[int], begin: int, end: int) -> "Spelled":
        """Return tokens that are those of some characters together."""
        return cls(np.array(ids, np.int32), np.full(len(ids), begin), np.full(len(ids), end))

    @classmethod
    def joined(cls, parts: Sequence["Spelled"]) -> "Spelled":
        """Return the tokens of several parts, one after the other."""
        parts = [cls.of([], 0, 0), *parts]
        return cls(*(np.concatenate(values) for values in zip(*parts)))


def in_parts(
    encode: Callable[[str], list[int]], text: str, specials: Sequence[Special], cuts: Sequence[int]
) -> Spelled:
    """Return the tokens of a text that is cut at special tokens and elsewhere.

    Args:
        encode: a part of the text -> its tokens.
        text: c characters.
        specials, cuts: from left to right.
    """

    def part(begin: int, end: int) -> list[Spelled]:
        borders = [begin, *(cut for cut in cuts if begin < cut < end), end]
        return [Spelled.of(encode(text[a:b]), a, b) for a, b in zip(borders, borders[1:])]

    return _around(specials, len(text), part)


def joined_at(
    text: str,
    specials: Sequence[Special],
    first_added: int,
    encode: Callable[[str, Sequence[Special]], Spelled],
) -> Spelled:
    """Return the tokens of a text that is cut at the special tokens that a library does not know.

    Args:
        text: c characters.
        specials: from left to right.
        first_added: the first token that the library does not know.
        encode: the library: a text and the special tokens in it -> its tokens.
    """

    def part(begin: int, end: int) -> list[Spelled]:
        inside = [
            Special(one.begin - begin, one.end - begin, one.token_id)
            for one in specials
            if begin <= one.begin and one.end <= end
        ]
        return [encode(text[begin:end], inside).moved(begin)]

    return _around([one for one in specials if one.token_id >= first_added], len(text), part)


def _around(specials: Sequence[Special], length: int, encode: Callable[[int, int], list[Spelled]]) -> Spelled:
    """Return the tokens of a text: special ones, and those that `encode` makes of the parts between."""
    parts, place = [], 0
    for begin, end, token in [*specials, Special(length, length, -1)]:
        if place < begin:
            parts += encode(place, begin)
        if token >= 0:
            parts.append(Spelled.of([token], begin, end))
        place = end
    return Spelled.joined(parts)
