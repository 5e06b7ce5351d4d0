"""Pairs in a token store: their sides, how long ones are cut, and which of them share a row.

n pairs; S positions of a row of sources, T positions of a row of targets, or of one that has both.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from lm_keras.data.examples import POOL, pools
from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs in one array of tokens, in their order: the source and then the target of each.

    Attributes:
        tokens: all tokens, perhaps with others between the pairs.
        begins, middles, ends: [n] int64, the first token of each source, the first one of its target, and the
            one behind that.
        kept_first: whether a source begins with a token that is never cut off: the language of its target.
    """

    tokens: np.ndarray
    begins: np.ndarray
    middles: np.ndarray
    ends: np.ndarray
    kept_first: bool = False

    @classmethod
    def in_store(cls, store: TokenStore, kept_first: bool = False) -> "Pairs":
        """Return the pairs of a store, which has the column `part`."""
        part = np.asarray(store.columns["part"])
        middles = np.flatnonzero(part[1:] > part[:-1]) + 1
        return cls(store.tokens, store.documents, middles, store.ends, kept_first)

    @property
    def source_sizes(self) -> np.ndarray:
        """Return the tokens of each source, [n] int64."""
        return self.middles - self.begins

    @property
    def target_sizes(self) -> np.ndarray:
        """Return the tokens of each target, [n] int64, without the end token."""
        return self.ends - self.middles


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """Which tokens of some pairs are read, so that each fits into a row.

    A target that is cut has no end token: the network would learn to end there.

    Attributes:
        source_begin, source_sizes: [n] int64, the first token that is read of each source, and their number.
        target_begin, target_sizes: [n] int64, likewise of the targets.
        predicted: [n] int64, tokens that are predicted of each target, with its end token.
    """

    source_begin: np.ndarray
    source_sizes: np.ndarray
    target_begin: np.ndarray
    target_sizes: np.ndarray
    predicted: np.ndarray

    @classmethod
    def apart(cls, pairs: Pairs, source_room: int, target_room: int, too_long: str | None) -> "Fitted":
        """Cut pairs whose sides stand in rows of their own.

        Args:
            pairs: the texts.
            source_room: tokens of a source that a row has room for.
            target_room: tokens of a target with its end token, likewise.
            too_long: `cut_start` cuts off the beginning of a source; every other way its end. Targets are cut
                at their end.
        """
        return cls._cut(pairs, np.full(len(pairs.begins), source_room), target_room, too_long)

    @classmethod
    def together(cls, pairs: Pairs, room: int, too_long: str | None) -> "Fitted":
        """Cut pairs whose sides share a row: the source, until half of the row is left for it; then the
        target. Arguments are those of `apart`, with one `room` for both.

        Example: a row of 10 positions holds of a pair with 9 and 3 tokens 6 of the source, and of one with
        9 and 8 tokens 5 of each.
        """
        source_room = np.maximum(room - pairs.target_sizes - 1, room // 2)
        kept = np.minimum(pairs.source_sizes, source_room)
        return cls._cut(pairs, source_room, room - kept, too_long)

    @classmethod
    def _cut(
        cls, pairs: Pairs, source_room: np.ndarray, target_room: int | np.ndarray, too_long: str | None
    ) -> "Fitted":
        source_sizes = np.minimum(pairs.source_sizes, source_room)
        cut_off = pairs.source_sizes - source_sizes if too_long == "cut_start" else 0
        predicted = np.minimum(pairs.target_sizes + 1, target_room)
        target_sizes = np.minimum(pairs.target_sizes, predicted)
        return cls(pairs.begins + cut_off, source_sizes, pairs.middles, target_sizes, predicted)

    def cut_sources(self, pairs: Pairs) -> np.ndarray:
        """Tell which sources are cut, [n] bool."""
        return self.source_sizes < pairs.source_sizes

    def cut_targets(self, pairs: Pairs) -> np.ndarray:
        """Tell which targets are cut, [n] bool."""
        return self.predicted <= pairs.target_sizes


def packed_pairs(
    source_sizes: np.ndarray, target_sizes: np.ndarray, room: int, pool: int = POOL
) -> tuple[np.ndarray, np.ndarray]:
    """Put pairs side by side into rows that have `room` for sources and as much for targets.

    Pairs are taken in pools. Of a pool the longest pair comes first, and each goes into the row with the
    least room that is enough for both of its sides. Length and room are told in two ways: by the side that is
    longer in the whole pool, and by the longer side of each pair and the room on both sides. The way with
    fewer rows is taken. So the rows are a function of the sizes alone.

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
        longer = int(sizes[own, 1].sum() > sizes[own, 0].sum())
        ways = [
            ((-sizes[own, 1 - longer], -sizes[own, longer]), (room + 1) ** np.array([1 - longer, longer])),
            ((-sizes[own].sum(1), -sizes[own].max(1)), np.ones(2, np.int64)),
        ]
        orders = [own[np.lexsort(keys)] for keys, _ in ways]
        found = [_best_fit(sizes[order], room, cost) for order, (_, cost) in zip(orders, ways)]
        best = min(range(2), key=lambda way: found[way].max())
        members.append(orders[best][np.argsort(found[best], kind="stable")])
        counts.append(np.bincount(found[best]))
    return np.concatenate(members), np.cumsum(np.concatenate(counts))


def _best_fit(sizes: np.ndarray, room: int, cost: np.ndarray) -> np.ndarray:
    """Return the number of the row for each pair, [n] int64.

    Args:
        sizes: [n, 2], of the sides.
        room: positions of a row on each side.
        cost: [2], of a free position on each side: a pair goes into the row that costs least.
    """
    left = np.empty([2, len(sizes)], np.int64)  # Room on each side of each row that was begun.
    chosen = np.empty(len(sizes), np.int64)
    count, too_much = 0, 2 * (room + 1) ** 2
    of_source, of_target = cost.tolist()
    for number, (source, target) in enumerate(sizes.tolist()):
        sources, targets = left[0, :count], left[1, :count]
        fits = (sources >= source) & (targets >= target)
        free = np.where(fits, of_source * sources + of_target * targets, too_much)
        row = int(free.argmin()) if count else 0
        if not count or free[row] == too_much:
            row = count
            left[:, row] = room
            count += 1
        left[0, row] -= source
        left[1, row] -= target
        chosen[number] = row
    return chosen


def check_sides(
    name: str,
    pairs: Pairs,
    fitted: Fitted,
    too_long: tuple[str, str],
    source_of: Callable[[int], str],
    say: Callable[[str], None],
) -> None:
    """Say how many sides of the pairs of a split do not fit into a row, and what becomes of them.

    Args:
        name: of the split.
        pairs: of it.
        fitted: what of them is read.
        too_long: what becomes of a source, and of a target: `error`, `cut_end` or `cut_start`.
        source_of: number of a pair -> where it is from.
        say: called with a line for the sources and one for the targets, if there are any.

    Raises:
        InputError: there are some, and that is an error.
    """
    sides = (
        ("source", fitted.cut_sources(pairs), pairs.source_sizes, fitted.source_sizes),
        ("target", fitted.cut_targets(pairs), pairs.target_sizes, fitted.target_sizes),
    )
    for how, (side, cut, sizes, kept) in zip(too_long, sides):
        if not cut.any():
            continue
        first, longest = int(np.argmax(cut)), int(np.argmax(sizes))
        what = (
            f"{source_of(first)}: the {side} has {sizes[first]:,} tokens, and its row has room for"
            f" {kept[first]:,} ({np.count_nonzero(cut):,} of {len(cut):,} {name} {side}s are too long; the"
            f" longest, {source_of(longest)}, has {sizes[longest]:,})"
        )
        if how == "error":
            raise InputError(f"{what}; raise --sequence_length, or choose --too_long=cut_end")
        say(f"{what}: {'only its last' if how == 'cut_start' else 'the tokens behind these are not read'}"
            f"{' tokens are read' if how == 'cut_start' else ''}")  # fmt: skip
