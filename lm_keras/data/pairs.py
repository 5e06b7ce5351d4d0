"""Pairs in a token store: their sides, and how long ones are cut.

n pairs; S positions of a row of sources, T positions of a row of targets, or of one that has both.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

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
