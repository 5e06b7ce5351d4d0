"""Long documents in parts whose tokens are those of the whole: between lines, or for tokenizers that nothing
proves to divide a text anywhere, by comparing the tokens of blocks that overlap.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from lm_keras.errors import InputError

BLOCK = 2**17
"""Characters that are encoded at once: about 20 MB in the library."""

OVERLAP = 2**13
"""Characters that two blocks have in common."""

MARGIN = 2**10
"""Characters at either end of them whose tokens may differ, because a block begins or ends there."""

LEAST_TOKENS = 16
"""Tokens that two blocks have to agree on."""

LARGEST = 2**22
"""Characters of a block at most: about 670 MB in the library."""


class EncodedText(NamedTuple):
    """Tokens of a text.

    Attributes:
        ids: [T] int32.
        begins: [T] character where a token begins.
        ends: [T] character behind it.
        words: [T] number of the pre-tokenizer's part that it is from.
    """

    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    words: np.ndarray


class EncodedPart(NamedTuple):
    """A part of a document: its text, its tokens, and whether it is the last one."""

    text: str
    ids: np.ndarray
    is_last: bool


def parts(
    pieces: Iterable[str], encode: Callable[[str], EncodedText], period: int = 1
) -> Iterator[EncodedPart]:
    """Yield a document in parts whose tokens, one after the other, are those of the whole document.

    Blocks of text overlap and are encoded one by one. Two of them are joined at a token in the middle of what
    they have in common, if all tokens there are the same, at the same characters, and come from the same
    words of the pre-tokenizer; if not, the blocks are taken twice as long. What a tokenizer does at the
    beginning of a text, and where a block is cut, is so in no part.

    Args:
        pieces: the text of the document.
        encode: encodes a text.
        period: a block begins at a multiple of it.

    Raises:
        InputError: blocks of 4,194,304 characters have not the tokens in common.
    """
    source = iter(pieces)
    held, ended = "", False
    done, first, block, size = 0, 0, None, BLOCK  # Of the block: characters and tokens that are done.
    while True:
        waiting = [held]
        length = len(held)
        while not ended and length <= size + BLOCK:
            more = next(source, None)
            ended = more is None
            waiting.append(more or "")
            length += len(more or "")
        held = "".join(waiting)
        if len(held) <= size:
            if held[done:] or (done == 0 and held):
                block = block or encode(held)
                yield EncodedPart(held[done:], block.ids[first:], True)
            return
        scale = size // BLOCK
        begin = size - OVERLAP * scale
        begin -= begin % period
        block = block or encode(held[:size])
        after = encode(held[begin : begin + BLOCK])
        region = held[begin:size], begin, MARGIN * scale
        cut = _agreed(block, after, *region) if begin > done else None
        if cut is None:
            if 2 * size > LARGEST:
                raise InputError(
                    f"the tokens of a document of more than {size:,} characters depend on all of its text"
                    " with this tokenizer, and would take too much memory; divide the document into shorter"
                    " ones"
                )
            size, block = 2 * size, None
            continue
        at, old, new = cut
        yield EncodedPart(held[done:at], block.ids[first:old], False)
        held, done, first, block, size = held[begin:], at - begin, new, after, BLOCK


def _agreed(
    block: EncodedText, after: EncodedText, text: str, begin: int, margin: int
) -> tuple[int, int, int] | None:
    """Return where two blocks may be joined: the character, and its token in each; None if their tokens
    differ.

    Args:
        block: the earlier block.
        after: the later one, which begins at the character `begin` of the earlier.
        text: what they have in common.
        begin: where that begins in the earlier block.
        margin: characters at either end of it that are left out.
    """
    low, high = begin + margin, begin + len(text) - margin
    one = _within(block, low, high)
    two = _within(after, low - begin, high - begin)
    if one is None or two is None or one[1] - one[0] != two[1] - two[0]:
        return None
    a, b = np.s_[one[0] : one[1]], np.s_[two[0] : two[1]]
    count = one[1] - one[0]
    if not count:
        return ((low + high) // 2, one[0], two[0]) if text[margin:-margin].isspace() else None
    same = (
        count >= LEAST_TOKENS
        and (block.ids[a] == after.ids[b]).all()
        and (block.begins[a] - begin == after.begins[b]).all()
        and (block.ends[a] - begin == after.ends[b]).all()
        and (np.diff(block.words[a]) == np.diff(after.words[b])).all()
    )
    if not same:
        return None
    begins, ends = block.begins[a], block.ends[a]
    clean = np.flatnonzero(ends[:-1] <= begins[1:]) + 1  # Not within a character that several tokens spell.
    if not len(clean):
        return None
    middle = int(clean[len(clean) // 2])
    return int(begins[middle]), one[0] + middle, two[0] + middle


def _within(block: EncodedText, low: int, high: int) -> tuple[int, int] | None:
    """Return the first and the last but one token of those between two characters; None where tokens are not
    in their order.
    """
    inside = np.flatnonzero((block.begins >= low) & (block.ends <= high))
    if not len(inside):
        first = int(np.searchsorted(block.begins, low))
        return first, first
    first, last = int(inside[0]), int(inside[-1]) + 1
    ordered = (np.diff(block.begins[first:last]) >= 0).all()
    return (first, last) if ordered and last - first == len(inside) else None


def by_lines(pieces: Iterator[str]) -> Generator[str, None, str]:
    """Yield a text in pieces that end where `_last_cut` says; return what is left where a line is longer than
    a block.
    """
    held = ""
    for piece in pieces:
        held += piece
        if cut := _last_cut(held):
            yield held[:cut]
            held = held[cut:]
        elif len(held) > BLOCK:
            return held
    if held:
        yield held
    return ""


def _last_cut(text: str) -> int:
    """Return where the last line begins whose line feed is between two characters that are not white
    space, or 0.
    """
    at = text.rfind("\n", 1, len(text) - 1)
    while at > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + 1
        at = text.rfind("\n", 1, at)
    return 0
