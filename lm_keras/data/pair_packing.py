"""Which pairs share a row: both of their sides have to fit."""

import bisect
import math
from collections.abc import Iterator

import numpy as np

from lm_keras.data.examples import POOL, pools


def packed_pairs(
    source_sizes: np.ndarray, target_sizes: np.ndarray, room: int, pool: int = POOL
) -> tuple[np.ndarray, np.ndarray]:
    """Put pairs side by side into rows that have `room` for sources and as much for targets.

    Pairs are taken in pools. The side that is longer in the whole pool is filled, row by row: with the
    longest pair first, and then with pairs that fill it exactly, as far as there are any. So the rows are a
    function of the sizes alone.

    Pools are spread over the text: a text that is sorted by length has short pairs in each, too, which fill
    what long ones leave.

    Args:
        source_sizes, target_sizes: [n], positions of the sides, 1 to `room`.
        room: positions of a row on each side.
        pool: pairs of a pool.

    Returns:
        The pairs row by row, [n] int64, and where the rows begin in that, [rows + 1] int64.

    Example:
        >>> members, begins = packed_pairs(np.array([5, 3, 2]), np.array([2, 4, 5]), room=8)
        >>> members.tolist(), begins.tolist()
        ([2, 0, 1], [0, 2, 3])
    """
    sizes = np.stack([source_sizes, target_sizes], 1).astype(np.int64)  # [n, 2]
    if sizes.size and not 1 <= sizes.min() <= sizes.max() <= room:
        raise ValueError(f"sides of {sizes.min()} to {sizes.max()} tokens for rows of {room}")
    members, counts = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
    for own in pools(len(sizes), pool):
        target_is_longer = sizes[own, 1].sum() > sizes[own, 0].sum()
        rows = _rows(sizes[own] if target_is_longer else sizes[own][:, ::-1], room)
        members += [own[np.array(row)] for row in rows]
        counts.append(np.array([len(row) for row in rows]))
    return np.concatenate(members), np.cumsum(np.concatenate(counts))


class _Remaining:
    """Pairs that have no row yet, by the size of the side that is filled.

    Args:
        sizes: [n, 2], of the other side and of the one that is filled.
    """

    def __init__(self, sizes: np.ndarray):
        self.of_size: dict[int, list[tuple[int, int]]] = {}  # Size -> other size and number, rising.
        self.count = len(sizes)
        self._there = 0  # Bit s is set where there is a pair of size s: the highest of some is found at once.
        for number in np.lexsort((sizes[:, 0], sizes[:, 1])).tolist():
            other, size = sizes[number].tolist()
            self.of_size.setdefault(size, []).append((other, number))
            self._there |= 1 << size

    def __contains__(self, size: int) -> bool:
        return size in self.of_size

    def sizes(self, most: int) -> Iterator[int]:
        """Yield the sizes up to `most`, the largest first."""
        some = self._there & ((1 << most + 1) - 1)
        while some:
            size = some.bit_length() - 1
            yield size
            some ^= 1 << size

    def least(self, size: int) -> int:
        """Return the smallest other side of the pairs of a size."""
        return self.of_size[size][0][0]

    def take(self, size: int, near: float, most: int) -> tuple[int, int]:
        """Remove a pair of a size: the last whose other side has up to `near`, but the first if none has, and
        none with more than `most`.

        Returns:
            Its other size and its number.
        """
        pairs = self.of_size[size]
        place = max(0, bisect.bisect_right(pairs, (min(near, most), math.inf)) - 1)
        taken = pairs.pop(place)
        if not pairs:
            del self.of_size[size]
            self._there ^= 1 << size
        self.count -= 1
        return taken


def _rows(sizes: np.ndarray, room: int) -> list[list[int]]:
    """Return the pairs of each row: sizes [n, 2], of the other side and of the one that is filled."""
    remaining, rows = _Remaining(sizes), []
    while remaining.count:
        row, left, other_left = [], room, room
        while (size := _next(remaining, left, other_left)) is not None:
            # What one more pair needs to fill the row stays free; else both sides are filled alike.
            need = remaining.least(left - size) if left - size in remaining else 0
            most = max(other_left - need, remaining.least(size))
            near = most if need or size == left else size * other_left / left
            other, number = remaining.take(size, near, most)
            row.append(number)
            left, other_left = left - size, other_left - other
        rows.append(row)
    return rows


def _next(remaining: _Remaining, left: int, other_left: int) -> int | None:
    """Return the size of the next pair of a row, or None if none fits.

    It is what fills the row, or with another pair fills it; else the largest that fits.

    Args:
        remaining: the pairs.
        left: room on the side that is filled.
        other_left: room on the other side.
    """
    fitting = [size for size in remaining.sizes(left) if remaining.least(size) <= other_left]
    if not fitting or fitting[0] == left:
        return fitting[0] if fitting else None
    for size in fitting:
        rest = left - size
        if rest > size:
            break
        others = remaining.of_size.get(rest, [])[rest == size :]  # Without the pair itself.
        if others and remaining.least(size) + others[0][0] <= other_left:
            return size
    return fitting[0]
