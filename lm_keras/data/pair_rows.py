"""Rows of whole pairs side by side: which pairs a row has, and the arrays that a network reads of them.

n pairs; R rows, S positions of a row of sources, T positions of a row that is predicted or read as a whole, K
predictions of it.
"""

import abc
import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from lm_keras.data.batch import Batch
from lm_keras.data.corpus_weights import packed_apart
from lm_keras.data.example_rows import offsets_in_rows, within
from lm_keras.data.examples import packed
from lm_keras.data.pair_packing import packed_pairs
from lm_keras.data.pairs import Fitted, Pairs
from lm_keras.data.spans import NO_ORDER

PADDED_TO = 8
"""Rows to generate from have a multiple of this many positions, so that there are few shapes of them."""


@dataclasses.dataclass(frozen=True)
class PairFrame:
    """The special tokens of a pair.

    Attributes:
        first_id: the token before the target, from which its first token is predicted.
        end_id: the token behind the target, which is predicted.
        source_end_id: the token behind the source; None for no token.
    """

    first_id: int
    end_id: int
    source_end_id: int | None = None

    @property
    def source_size(self) -> int:
        """Return the number of special tokens that a source has."""
        return 0 if self.source_end_id is None else 1


@dataclasses.dataclass(frozen=True, eq=False)
class PairRows(abc.ABC):
    """Rows that hold every pair once. Which pairs share a row is fixed.

    Attributes:
        pairs: the texts.
        fitted: which tokens of them are read.
        frame: the special tokens.
        length: T.
        members: [n] int64, the pairs in the order of the rows.
        begins: [rows + 1] int64: row r has the pairs members[begins[r]:begins[r + 1]].
        predictions: K.
        corpora: the first row of each corpus, and their number.
        names: of the arrays, without targets and weights.
    """

    pairs: Pairs
    fitted: Fitted
    frame: PairFrame
    length: int
    members: np.ndarray
    begins: np.ndarray
    predictions: int
    corpora: np.ndarray

    names: ClassVar[tuple[str, ...]]

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return len(self.begins) - 1

    @property
    def targets(self) -> int:
        """Return the number of tokens that are predicted."""
        return int(self.fitted.predicted.sum())

    @property
    def widths(self) -> tuple[int, ...]:
        """Return how many positions a row of each array has that `arrays` returns."""
        return (*(self.predictions if name == "predicted" else self.length for name in self.names),
                self.predictions, self.predictions)  # fmt: skip

    def blocks(self, rows: int) -> Iterator[Batch]:
        """Yield all rows, `rows` at a time; the last block has empty rows, too."""
        for first in range(0, self.count, rows):
            numbers = np.minimum(np.arange(first, first + rows + 1), self.count)
            *inputs, targets, weights = self.arrays(self.begins[numbers[:-1]], self.begins[numbers[1:]])
            yield Batch({**dict(zip(self.names, inputs)), "reset": np.ones(rows, bool)}, targets, weights)

    def arrays(self, start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
        """Return some rows: the arrays that `names` names, targets and weights, which are float32.

        Args:
            start, end: [R] int64, the first member of each row and the one behind its last.
        """
        counts = end - start
        pair = self.members[np.repeat(start, counts) + within(counts)]
        return self._arrays(np.repeat(np.arange(len(start)), counts), counts, pair)

    @abc.abstractmethod
    def _arrays(self, row: np.ndarray, counts: np.ndarray, pair: np.ndarray) -> list[np.ndarray]:
        """Return the arrays of some rows.

        Args:
            row: [p], the row of each pair.
            counts: [R], pairs of each row.
            pair: [p], the number of each pair, row by row.
        """

    def _sources(self, pair: np.ndarray) -> np.ndarray:
        """Return the tokens of the sources of some pairs, one after the other."""
        sizes, begin = self.fitted.source_sizes[pair], self.fitted.source_begin[pair]
        tokens = self.pairs.tokens[np.repeat(begin, sizes) + within(sizes)].astype(np.int32)
        if self.pairs.kept_first:  # What begins a source stays where its beginning is cut off.
            tokens[np.cumsum(sizes) - sizes] = self.pairs.tokens[self.pairs.begins[pair]]
        return tokens

    def _targets(self, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is read and what is predicted of the targets of some pairs, one after the other."""
        sizes, begin = self.fitted.target_sizes[pair], self.fitted.target_begin[pair]
        predicted = self.fitted.predicted[pair]
        first = np.cumsum(predicted) - predicted
        said = np.full(int(predicted.sum()), self.frame.end_id, np.int32)
        said[np.repeat(first, sizes) + within(sizes)] = self.pairs.tokens[
            np.repeat(begin, sizes) + within(sizes)
        ]
        read = np.roll(said, 1)
        read[first] = self.frame.first_id
        return read, said


@dataclasses.dataclass(frozen=True, eq=False)
class RowsApart(PairRows):
    """Rows for a network with an encoder: sources in one array, targets in another; S = T = K.

    Example: with the end token 0, the begin token 1 and T = 6, the pairs [5, 6] -> [7] and [8] -> [9, 9] of
    one row become

        source           5 6 0 8 0 0
        source_document  0 0 0 1 1 2
        tokens           1 7 1 9 9 1
        document         0 0 1 1 1 3
        targets          7 0 9 9 0 0
        weights          1 1 1 1 1 0

    Positions beyond the last pair have numbers of their own on either side, so that they see no pair.
    """

    names = ("source", "source_document", "tokens", "document")

    @classmethod
    def of(
        cls, pairs: Pairs, frame: PairFrame, length: int, too_long: str | None, corpora: np.ndarray
    ) -> "RowsApart":
        """Cut and pack pairs.

        Args:
            pairs: the texts.
            frame: the special tokens.
            length: S and T.
            too_long: see `Fitted.apart`.
            corpora: the first pair of each corpus, and their number; pairs of two share no row.
        """
        fitted = Fitted.apart(pairs, length - frame.source_size, length, too_long)
        sources, targets = fitted.source_sizes + frame.source_size, fitted.predicted
        members, begins, rows = packed_apart(
            lambda first, end: packed_pairs(sources[first:end], targets[first:end], length), corpora
        )
        return cls(pairs, fitted, frame, length, members, begins, length, rows)

    def _arrays(self, row: np.ndarray, counts: np.ndarray, pair: np.ndarray) -> list[np.ndarray]:
        number, size, rows = within(counts), self.length, len(counts)
        sizes = self.fitted.source_sizes[pair]
        framed = sizes + self.frame.source_size
        flat = row * size + offsets_in_rows(counts, framed)
        source = np.full(rows * size, self.frame.source_end_id or 0, np.int32)
        source[np.repeat(flat, sizes) + within(sizes)] = self._sources(pair)
        source_document = np.repeat(counts, size).astype(np.int32)
        source_document[np.repeat(flat, framed) + within(framed)] = np.repeat(number, framed)
        predicted = self.fitted.predicted[pair]
        to = np.repeat(row * size + offsets_in_rows(counts, predicted), predicted) + within(predicted)
        tokens, targets = np.full(rows * size, self.frame.first_id, np.int32), np.zeros(rows * size, np.int32)
        tokens[to], targets[to] = self._targets(pair)
        document = np.repeat(counts + 1, size).astype(np.int32)
        document[to] = np.repeat(number, predicted)
        weights = np.zeros(rows * size, np.float32)
        weights[to] = 1
        found = source, source_document, tokens, document, targets, weights
        return [values.reshape(rows, size) for values in found]


@dataclasses.dataclass(frozen=True, eq=False)
class RowsTogether(PairRows):
    """Rows for a network that reads a source and its target one after the other.

    With a `mask_id` a source and a mask are part A, and the target is the span in part B; see
    `lm_keras.data.spans`.

    Attributes:
        mask_id: the token behind the source that stands for the target, or None.

    Example: with the end token 0, the token 1 before targets, T = 9 and K = 5, the pairs [5, 6] -> [7] and
    [8] -> [9, 9] of one row become

        tokens     5 6 1 7 8 1 9 9 1
        document   0 0 0 0 1 1 1 1 2
        predicted  2 3 5 6 7
        targets    7 0 9 9 0

    and with the mask 2, T = 6 and K = 2 the first one alone becomes

        tokens     5 6 2 1 7 1
        document   0 0 0 0 0 1
        position   0 1 2 2 2 0
        within     0 0 0 1 2 0
        order      0 0 0 1 2 -
        predicted  3 4
        targets    7 0
    """

    mask_id: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays, without targets and weights."""
        spans = () if self.mask_id is None else ("position", "within", "order")
        return ("tokens", "document", *spans, "predicted")

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        frame: PairFrame,
        length: int,
        too_long: str | None,
        corpora: np.ndarray,
        mask_id: int | None = None,
    ) -> "RowsTogether":
        """Cut and pack pairs; see `RowsApart.of` and `Fitted.together`."""
        fitted = Fitted.together(pairs, length - (mask_id is not None), too_long)
        sizes = fitted.source_sizes + (mask_id is not None) + fitted.predicted
        members, begins, rows = packed_apart(
            lambda first, end: packed(sizes[first:end], length, spread=True), corpora
        )
        in_rows = np.append(0, np.cumsum(fitted.predicted[members]))[begins]
        most = int(np.diff(in_rows).max(initial=1))
        return cls(pairs, fitted, frame, length, members, begins, most, rows, mask_id)

    def _arrays(self, row: np.ndarray, counts: np.ndarray, pair: np.ndarray) -> list[np.ndarray]:
        length, rows = self.length, len(counts)
        sizes, predicted = self.fitted.source_sizes[pair], self.fitted.predicted[pair]
        first = sizes + (self.mask_id is not None)  # Where the target begins within the pair.
        whole = first + predicted
        offset = offsets_in_rows(counts, whole)
        flat = row * length + offset
        places = np.repeat(flat, whole) + within(whole)
        target = np.repeat(flat + first, predicted) + within(predicted)
        tokens = np.full(rows * length, self.frame.first_id, np.int32)
        tokens[np.repeat(flat, sizes) + within(sizes)] = self._sources(pair)
        if self.mask_id is not None:
            tokens[flat + sizes] = self.mask_id
        tokens[target], said = self._targets(pair)
        document = np.repeat(counts, length).astype(np.int32)
        document[places] = np.repeat(within(counts), whole)
        found = [tokens, document]
        if self.mask_id is not None:
            position, inside, order = (np.full(rows * length, rest, np.int32) for rest in (0, 0, NO_ORDER))
            position[places], order[places] = np.minimum(within(whole), np.repeat(sizes, whole)), 0
            inside[target] = order[target] = within(predicted) + 1
            found += [position, inside, order]
        in_rows = np.bincount(row, predicted, minlength=rows).astype(np.int64)
        to = np.repeat(np.arange(rows), in_rows) * self.predictions + within(in_rows)
        tables = [np.zeros(rows * self.predictions, kind) for kind in (np.int32, np.int32, np.float32)]
        for table, values in zip(tables, (target % length, said, 1)):
            table[to] = values
        return [
            *(values.reshape(rows, length) for values in found),
            *(table.reshape(rows, self.predictions) for table in tables),
        ]


def padded(texts: Sequence[np.ndarray], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Put texts into rows, with padding behind them. Their length is a multiple of 8.

    Args:
        texts: B arrays of tokens.
        padding: the token beside a text.

    Returns:
        tokens [B, P] int32 and lengths [B] int32.

    Example:
        >>> tokens, lengths = padded([np.array([5, 6]), np.array([7])], padding=0)
        >>> tokens.tolist(), lengths.tolist()
        ([[5, 6, 0, 0, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0, 0]], [2, 1])
    """
    lengths = np.array([len(text) for text in texts], np.int32)
    width = -(-int(lengths.max(initial=1)) // PADDED_TO) * PADDED_TO
    tokens = np.full([len(texts), width], padding, np.int32)
    for row, text in zip(tokens, texts):
        row[: len(text)] = text
    return tokens, lengths
