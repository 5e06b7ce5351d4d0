"""Examples: the documents of a store, each with a label or with tags; how long ones are cut, and which of
them share a row.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from lm_keras.corpora import Document, Split
from lm_keras.errors import InputError

POOL = 1000
"""Examples among which those that share a row are chosen."""

TOO_LONG = {
    "error": "",
    "cut_end": "the tokens behind that are not read",
    "cut_start": "only their last tokens are read",
    "windows": "they are read in windows that overlap by half",
}
"""The choices of `--too_long`, each with what it does, in words."""


def pools(count: int, pool: int = POOL) -> Iterator[np.ndarray]:
    """Yield the numbers of the examples of each pool, [pool] int64, where pools are spread over the text.

    Example:
        >>> [numbers.tolist() for numbers in pools(5, pool=3)]
        [[0, 2, 4], [1, 3]]
    """
    number = -(-count // pool)
    for first in range(number):
        yield np.arange(first, count, number)


def packed(
    lengths: np.ndarray, room: int, pool: int = POOL, spread: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Put whole examples side by side into rows, as few as best fit finds.

    Examples are taken in pools, in their order. Of a pool the longest comes first, and each example goes into
    the row with the least room that is enough for it. So the rows are a function of the lengths alone, and an
    example shares a row with others of its pool only.

    Args:
        lengths: [n], tokens of the examples, 1 to `room`.
        room: tokens of a row.
        pool: examples of a pool.
        spread: whether pools are spread over the text; else each has neighbours.

    Returns:
        The examples row by row, [n] int64, and where the rows begin in that, [rows + 1] int64: row r has the
        examples members[begins[r]:begins[r + 1]].

    Example:
        >>> members, begins = packed(np.array([5, 3, 4, 2, 6]), room=8)
        >>> members.tolist(), begins.tolist()
        ([4, 3, 0, 1, 2], [0, 2, 4, 5])

    Reference: Krell et al. (2021), "Efficient sequence packing without cross-contamination", section 3.
    """
    lengths = np.asarray(lengths, np.int64)
    if lengths.size and not 1 <= lengths.min() <= lengths.max() <= room:
        raise ValueError(f"examples of {lengths.min()} to {lengths.max()} tokens for rows of {room}")
    members, sizes = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
    neighbours = (np.arange(begin, min(begin + pool, len(lengths))) for begin in range(0, len(lengths), pool))
    for own in pools(len(lengths), pool) if spread else neighbours:
        order = own[np.argsort(-lengths[own], kind="stable")]
        rows = np.array(_best_fit(lengths[order].tolist(), room))
        members.append(order[np.argsort(rows, kind="stable")])
        sizes.append(np.bincount(rows))
    return np.concatenate(members), np.cumsum(np.concatenate(sizes))


def _best_fit(lengths: list[int], room: int) -> list[int]:
    """Return the number of the row for each length."""
    chosen: list[int] = []
    rows_with: dict[int, list[int]] = {}  # Room that is left -> rows.
    there = 0  # Bit r is set where a row has room r left: the lowest of some bits is found at once.
    count = 0
    for length in lengths:
        enough = there >> length
        if enough:
            found = length + (enough & -enough).bit_length() - 1
            row = rows_with[found].pop()
            if not rows_with[found]:
                there ^= 1 << found
        else:
            found, row = room, count
            count += 1
        chosen.append(row)
        rows_with.setdefault(found - length, []).append(row)
        there |= 1 << found - length
    return chosen


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """Which tokens of some examples are read: all of an example, a part of it, or several windows.

    Attributes:
        example: [parts] int64, number of the example, never falling.
        begin, end: [parts] int64, the tokens that are read, counted from the first one of the example.
        first, last: [parts] int64: the predictions of this part are those of the tokens first ... last - 1.
            Parts of one example share none, and where nothing is cut off they have all.
    """

    example: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of the parts, [parts] int64."""
        return self.end - self.begin


def parts_of(lengths: np.ndarray, room: int, too_long: str) -> Parts:
    """Divide examples so that each part fits into a row.

    Windows begin half a row apart, but for the last, which ends with its example. A token in two windows
    belongs to that in which it is farther from the edge.

    Args:
        lengths: [n], tokens of the examples.
        room: tokens of a row.
        too_long: a key of `TOO_LONG`.

    Raises:
        InputError: an example is longer, and that is an error.

    Example:
        >>> parts = parts_of(np.array([3, 9]), room=4, too_long="windows")
        >>> parts.begin.tolist(), parts.end.tolist()
        ([0, 0, 2, 4, 5], [3, 4, 6, 8, 9])
        >>> parts.first.tolist(), parts.last.tolist()
        ([0, 0, 3, 5, 6], [3, 3, 5, 6, 9])
    """
    lengths = np.asarray(lengths, np.int64)
    beyond = np.maximum(lengths - room, 0)
    if too_long == "error" and beyond.any():
        longest = int(np.argmax(lengths))
        raise InputError(
            f"example {longest + 1:,} has {lengths[longest]:,} tokens, and a row has room for {room:,}; raise"
            " --sequence_length, or choose --too_long=windows, cut_end or cut_start"
        )
    if too_long != "windows":
        begin = beyond if too_long == "cut_start" else np.zeros_like(lengths)
        end = begin + np.minimum(lengths, room)
        return Parts(np.arange(len(lengths)), begin, end, begin, end)
    stride = max(1, room // 2)
    counts = -(-beyond // stride) + 1
    example = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.minimum(number * stride, beyond[example])
    end = np.minimum(begin + room, lengths[example])
    middle = (begin[1:] + end[:-1]) // 2
    first, last = np.zeros_like(begin), lengths[example]
    is_later = number > 0
    first[is_later] = middle[is_later[1:]]
    last[:-1][is_later[1:]] = middle[is_later[1:]]
    return Parts(example, begin, end, first, last)


def check_lengths(
    name: str,
    lengths: np.ndarray,
    room: int,
    too_long: str,
    source_of: Callable[[int], str],
    say: Callable[[str], None],
    around: int = 0,
) -> None:
    """Say how many examples of a split do not fit into a row, and what becomes of them.

    Args:
        name: of the split.
        lengths: [n], tokens of its examples.
        room: tokens of an example that a row has room for.
        too_long: a key of `TOO_LONG`.
        source_of: number of an example -> where it is from.
        say: called with a line, if there are any.
        around: tokens of a row beside those of its example.

    Raises:
        InputError: there are some, and that is an error.
    """
    count = int(np.count_nonzero(lengths > room))
    if not count:
        return
    first, longest = int(np.argmax(lengths > room)), int(np.argmax(lengths))
    what = (
        f"{source_of(first)}: {lengths[first]:,} tokens, and a row has room for {room:,} of an example"
        f" ({count:,} of {len(lengths):,} {name} examples are longer; the longest, {source_of(longest)}, has"
        f" {lengths[longest]:,})"
    )
    if too_long == "error":
        raise InputError(
            f"{what}; raise --sequence_length to {lengths[longest] + around:,}, or choose --too_long=windows,"
            " cut_end or cut_start"
        )
    say(f"{what}: --too_long={too_long}, {TOO_LONG[too_long]}")


def source_at(split: Split, number: int) -> str:
    """Return where a document of a split is from: `train.tsv:17`."""
    return documents_at(split, [number])[number].source


def documents_at(split: Split, numbers: Iterable[int]) -> dict[int, Document]:
    """Return documents of a split by their numbers; the text is read once, up to the last of them.

    Args:
        split: the text.
        numbers: from 0 on, as the rows of a store's `documents`.
    """
    wanted, found = set(numbers), {}
    if not wanted:
        return found
    for number, document in enumerate(split.documents()):
        if number in wanted:
            found[number] = document
            if len(found) == len(wanted):
                break
    return found
