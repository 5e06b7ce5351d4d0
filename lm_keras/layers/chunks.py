"""Queries in chunks: which of them are computed together, and one after the other.

Shapes: B rows, H heads, T queries, d width of a head.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

KEY_LENGTHS = 8
"""Number of groups that causal chunks are divided into; see `groups_of`."""


class ChunkGroup(NamedTuple):
    """Chunks of queries, one after the other, that are given the same keys."""

    first: int  # query
    count: int  # of chunks
    size: int  # of each of them, in queries
    seen: int  # keys that they are given, the first ones


def groups_of(time: int, chunk: int, causal: bool) -> list[ChunkGroup]:
    """Divide `time` queries into chunks, and these into groups.

    Each chunk could be given just the keys that it sees. But then no two would have the same shapes, and each
    would be compiled for itself: at T 4,096 and chunks of 128 that took 5 s and 250 MiB. In `KEY_LENGTHS`
    groups an eighth of what is needed is computed in vain, for keys that are hidden.

    Example: 21 queries in causal chunks of 2 are 5 groups of 2 chunks, and what is left,

        [(0, 2, 2, 4), (4, 2, 2, 8), (8, 2, 2, 12), (12, 2, 2, 16), (16, 2, 2, 20), (20, 1, 1, 21)]
    """
    chunks = time // chunk
    at_once = max(1, -(-chunks // KEY_LENGTHS) if causal else chunks)
    groups = []
    for first in range(0, chunks, at_once):
        count = min(at_once, chunks - first)
        groups.append(ChunkGroup(first * chunk, count, chunk, (first + count) * chunk if causal else time))
    left = time - chunks * chunk
    return groups + ([ChunkGroup(chunks * chunk, 1, left, time)] if left else [])


def chunk_by_chunk(
    group: ChunkGroup,
    compute: Callable[..., Sequence[tf.Tensor]],
    by_query: list[tf.Tensor],
    whole: list[tf.Tensor],
    sums: list[tf.Tensor],
) -> list[tf.Tensor]:
    """Call `compute(begin, *chunks, *whole)` for one chunk of a group after the other.

    Args:
        group: of chunks.
        compute: returns what belongs to the chunk's own queries, [B, H, size, d], and as many other tensors
            as `sums`.
        by_query: [B, H, T, d] each; the chunk's part of them is passed on.
        whole: passed on as it is.
        sums: to which the other tensors are added.

    Returns:
        The former side by side, [B, H, count size, d], and the sums.
    """

    def of_chunk(begin: int | tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        own, *others = compute(begin, *[_slice(part, begin, group.size) for part in by_query], *whole)
        return own, [total + other for total, other in zip(sums, others, strict=True)]

    if group.count == 1:
        own, sums = of_chunk(group.first, sums)
        return [own, *sums]
    like = by_query[0]
    shape = [*like.shape[:2], group.size, like.shape[3]]

    def one(
        number: tf.Tensor, array: tf.TensorArray, sums: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.TensorArray, list[tf.Tensor]]:
        own, sums = of_chunk(group.first + number * group.size, sums)
        return number + 1, array.write(number, own), sums

    chunks = tf.TensorArray(like.dtype, group.count, element_shape=shape)
    _, chunks, sums = tf.while_loop(
        lambda number, *_: number < group.count, one, [tf.constant(0), chunks, sums], parallel_iterations=1
    )
    return [_side_by_side(chunks.stack()), *sums]


def _slice(heads: tf.Tensor, begin: int | tf.Tensor, size: int) -> tf.Tensor:
    """Return `size` positions of [B, H, T, d] from `begin` on."""
    rows = heads.shape[0] or tf.shape(heads)[0]
    return tf.slice(heads, [0, 0, begin, 0], [rows, heads.shape[1], size, heads.shape[3]])


def _side_by_side(chunks: tf.Tensor) -> tf.Tensor:
    """Return [n, B, H, size, d] as [B, H, n size, d]."""
    count, rows, heads, size, width = (
        known or tf.shape(chunks)[axis] for axis, known in enumerate(chunks.shape)
    )
    return tf.reshape(tf.transpose(chunks, [1, 2, 0, 3, 4]), [rows, heads, count * size, width])
