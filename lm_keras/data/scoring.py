"""How a whole split is laid out for evaluation: every target scored once, whatever the batch size of
training.

The layout depends on the split alone, so the value does too.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from lm_keras.data.pipeline import gather
from lm_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """One call's worth of rows.

    Attributes:
        tokens: [R, T] int32.
        targets: [R, T] int32.
        weights: [R, T] float32, 1 for each target that this block scores.
        reset: [R] bool, rows whose state is reset; the others go on from the block before.
    """

    tokens: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    reset: np.ndarray


STREAM_TARGETS = 2048
"""Targets of one evaluation stream, as long as there are few of them."""

MAX_STREAMS = 64

BURN_IN = 256
"""Tokens at least that a stream reads before its first target, so that it has the state it would have had."""

MAX_BURN_IN = 1024
"""Tokens at most that a stream reads before its first target in order to begin with a document."""

BLOCK_LENGTH = 128


def streams(
    tokens: np.ndarray,
    documents: np.ndarray,
    max_positions: int = MAX_STREAMS * BLOCK_LENGTH,
    unscored: int | None = None,
) -> Iterator[ScoredRows]:
    """Score a split in contiguous streams with carried state.

    The first stream begins with the start state, every other one reads `BURN_IN` tokens or more first without
    scoring them. For a network that forgets how it began, that is what one pass with one row gives, up to 64
    times as fast. A stream begins with a document if one begins within `MAX_BURN_IN` tokens, and in any case
    with the token that begins one, as training and sampling do: a network that never learnt to begin
    otherwise can stay astray for long.

    Args:
        tokens: [n + 1], the context before the first target included.
        documents: positions in `tokens` where a document begins, rising.
        max_positions: rows times length of a block at most, so that its logits fit into memory; no part of
            the layout.
        unscored: a token that is never a target.

    Example: with streams of 10 targets, `BURN_IN` 3, `MAX_BURN_IN` 8 and documents that begin at 1, 6 and 14,
        the streams score from 0, 10 and 20 on; the second begins at 5, with the token before
        the document at 6, the third at 13.
    """
    targets = len(tokens) - 1
    count = max(1, min(MAX_STREAMS, targets // STREAM_TARGETS))
    length = -(-targets // count)
    first = np.arange(count) * length
    begin = _begins(first, documents)
    end = np.minimum(first + length, targets)
    block_length = min(BLOCK_LENGTH, max(1, max_positions // count))
    for offset in range(0, int((end - begin).max()), block_length):
        reset = np.full(count, offset == 0)
        block = _block(tokens, begin + offset, first, end, block_length, reset, unscored)
        if offset == 0:
            block.tokens[:, 0] = tokens[0]
        yield block


def _begins(first: np.ndarray, documents: np.ndarray) -> np.ndarray:
    latest = np.maximum(first - BURN_IN, 0)
    # What comes before a document is the context of its first token.
    starts = np.concatenate([[0], documents - 1])
    document = starts[np.searchsorted(starts, latest, side="right") - 1]
    return np.where(first - document <= MAX_BURN_IN, document, latest)


def windows(
    tokens: np.ndarray,
    length: int,
    stride: int,
    rows: int = 32,
    like_documents: bool = False,
    unscored: int | None = None,
) -> Iterator[ScoredRows]:
    """Score a split in windows of `length` tokens that start from nothing, each scoring its last `stride`
    targets.

    The first window scores all its targets. With n = 8 targets, length 4 and stride 2, window by window
    (position of the first input: targets scored): 0: 1-4, 2: 5-6, 4: 7-8.

    A network that was trained on streams has begun as documents begin only. In windows that begin
    otherwise it can go astray from their first token to their last: 6.07 nats a token where one pass gives
    4.59, and windows that begin like documents 4.59 (300 steps of configs/quickstart.flags with
    `--state_reset=0`, length 16, stride 2). A network that was trained on windows has begun anywhere.

    Args:
        tokens: [n + 1], the token that begins a document first.
        length: context of a window in tokens.
        stride: targets that a window scores; the smaller, the more context each target has, and the slower.
        rows: windows in one block; it does not change the value.
        like_documents: whether a window reads the token that begins a document before its own `length`
            tokens.
        unscored: a token that is never a target.

    Raises:
        InputError: for a stride that would leave targets out.
    """
    if not 1 <= stride <= length:
        raise InputError(f"stride={stride}: expected 1 to {length}, the length of a window")
    targets = len(tokens) - 1
    count = 1 + max(0, -(-(targets - length) // stride))
    ends = np.minimum(length + np.arange(count) * stride, targets)
    width = length + like_documents
    begins = np.maximum(ends - width, 0)
    first = np.concatenate([[0], ends[:-1]])
    for k in range(0, len(ends), rows):
        part = slice(k, k + rows)
        padding = rows - len(ends[part])
        begin, low, end = (np.pad(values[part], (0, padding)) for values in (begins, first, ends))
        block = _block(tokens, begin, low, end, width, np.ones(rows, bool), unscored)
        if like_documents:
            block.tokens[:, 0] = tokens[0]
        yield block


def rows_of(tokens: np.ndarray, begins: np.ndarray, length: int, rows: int) -> Iterator[ScoredRows]:
    """Lay out a split in rows side by side, all of whose tokens may be scored.

    Args:
        tokens: [n + 1], the token that begins a document first.
        begins: [count + 1] int64, how many targets come before each row, and n.
        length: tokens of a row at most.
        rows: in one block.
    """
    for k in range(0, len(begins) - 1, rows):
        first, end = begins[:-1][k : k + rows], begins[1:][k : k + rows]
        padding = rows - len(first)
        first, end = np.pad(first, (0, padding)), np.pad(end, (0, padding))
        yield _block(tokens, first, first, end, length, np.ones(rows, bool), None)


def _block(
    tokens: np.ndarray,
    start: np.ndarray,
    first: np.ndarray,
    end: np.ndarray,
    length: int,
    reset: np.ndarray,
    unscored: int | None,
) -> ScoredRows:
    window = gather(tokens, np.minimum(start, len(tokens) - 1), length)
    position = start[:, None] + np.arange(length)
    scored = (position >= first[:, None]) & (position < end[:, None])
    if unscored is not None:
        scored &= window[:, 1:] != unscored
    return ScoredRows(window[:, :-1], window[:, 1:], scored.astype(np.float32), reset)
