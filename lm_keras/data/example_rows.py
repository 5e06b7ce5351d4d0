"""Rows of whole examples side by side: which examples a row has, and the arrays that a network reads of them.

n examples; P parts of them, one a row may hold; w words; R rows, T positions of a row, K predictions of it.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lm_keras.data.corpus_weights import packed_apart
from lm_keras.data.examples import Parts, packed, parts_of
from lm_keras.data.labels import NO_LABEL, NO_TAG, NO_WORD
from lm_keras.data.store import TokenStore


class Example(NamedTuple):
    """A text in memory.

    Attributes:
        tokens: [n] int32.
        words: [w], the index of each word's first token; None where the text is predicted as a whole.
    """

    tokens: np.ndarray
    words: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
    """The special tokens around each example.

    Attributes:
        begin_id: the token before it; None for no token.
        end_id: the token behind it; None for no token.
    """

    begin_id: int | None = None
    end_id: int | None = None

    @property
    def size(self) -> int:
        """Return the number of these tokens."""
        return self.before + (self.end_id is not None)

    @property
    def before(self) -> int:
        """Return the number of these tokens before an example."""
        return int(self.begin_id is not None)


@dataclasses.dataclass(frozen=True, eq=False)
class Texts:
    """Examples in one array of tokens, in their order. They have labels, or their words have tags.

    Attributes:
        tokens: all tokens, perhaps with others between the examples.
        begins, ends: [n] int64, the first token of each example and the one behind its last.
        labels: [n] int32, or `NO_LABEL`; None where words are predicted.
        tags: [len(tokens)] int32, the tag of the word that begins at a token, or `NO_WORD` or `NO_TAG`;
            None where whole examples are predicted.
    """

    tokens: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    labels: np.ndarray | None = None
    tags: np.ndarray | None = None

    @classmethod
    def in_store(cls, store: TokenStore) -> "Texts":
        """Return the documents of a store, with their column `label` or `tag`."""
        columns = store.columns
        return cls(store.tokens, store.documents, store.ends, columns.get("label"), columns.get("tag"))

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Texts":
        """Put examples in memory together."""
        sizes = np.array([len(example.tokens) for example in examples], np.int64)
        ends = np.cumsum(sizes)
        none = [np.zeros(0, np.int32)]
        tokens = np.concatenate([*none, *(example.tokens for example in examples)]).astype(np.int32)
        if not examples or examples[0].words is None:
            return cls(tokens, ends - sizes, ends, labels=np.full(len(examples), NO_LABEL, np.int32))
        tags = np.full(len(tokens), NO_WORD, np.int32)
        for begin, example in zip(ends - sizes, examples):
            tags[begin + np.asarray(example.words, np.int64)] = NO_TAG
        return cls(tokens, ends - sizes, ends, tags=tags)


class Arrays(NamedTuple):
    """Some rows.

    Attributes:
        tokens: [R, T] int32.
        document: [R, T] int32, the number of the example within its row; beyond the last one their count.
        positions: [R, K] int32, where the predictions are, 0 where there is none.
        targets: [R, K] int32, label or tag; negative where there is none.
        numbers: [R, K] int32, the number of the example or word that is predicted, -1 for none.
    """

    tokens: np.ndarray
    document: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    numbers: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleRows:
    """Rows that hold every part of some examples once. Which parts share a row is fixed.

    Attributes:
        texts: the examples.
        parts: of them: whole examples, cut ones, or windows.
        offsets: [P] int64, the first token of the example of each part.
        frame: around each part.
        length: T.
        last: whether an example is predicted at its last token; else at its first.
        members: [P] int64, the parts in the order of the rows.
        begins: [rows + 1] int64: row r has the parts members[begins[r]:begins[r + 1]].
        predictions: K, the most predictions of a row.
        corpora: the first row of each corpus, and their number.
        word_numbers: [P] int64, words before the first one of each part; None without tags.
    """

    texts: Texts
    parts: Parts
    offsets: np.ndarray
    frame: Frame
    length: int
    last: bool
    members: np.ndarray
    begins: np.ndarray
    predictions: int
    corpora: np.ndarray
    word_numbers: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        texts: Texts,
        frame: Frame,
        length: int,
        too_long: str,
        last: bool = True,
        corpora: np.ndarray | None = None,
    ) -> "ExampleRows":
        """Divide and pack examples.

        Args:
            texts: the examples.
            frame: around each part.
            length: T.
            too_long: a key of `lm_keras.data.examples.TOO_LONG`.
            last: whether an example is predicted at its last token; else at its first.
            corpora: the first example of each corpus, and their number; None for one corpus. Examples of two
                corpora share no row.

        Raises:
            InputError: an example is too long, and that is an error.
        """
        parts = parts_of(texts.ends - texts.begins, length - frame.size, too_long)
        offsets = texts.begins[parts.example]
        sizes = parts.lengths + frame.size
        bounds = [0, len(texts.begins)] if corpora is None else corpora
        members, begins, rows = packed_apart(
            lambda first, end: packed(sizes[first:end], length), np.searchsorted(parts.example, bounds)
        )
        if texts.tags is None:
            most, word_numbers = int(np.diff(begins).max(initial=1)), None
        else:
            before = np.append(0, np.cumsum(np.asarray(texts.tags) != NO_WORD, dtype=np.int32))
            word_numbers = before[offsets + parts.first].astype(np.int64)
            words = before[offsets + parts.last] - word_numbers
            in_rows = np.append(0, np.cumsum(words[members]))[begins]
            most = int(np.diff(in_rows).max(initial=1))
        return cls(texts, parts, offsets, frame, length, last, members, begins, most, rows, word_numbers)

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return len(self.begins) - 1

    @property
    def predicted(self) -> int:
        """Return the number of examples or words."""
        if self.texts.tags is None:
            return len(self.texts.begins)
        return int(np.count_nonzero(np.asarray(self.texts.tags) != NO_WORD))

    @property
    def text_tokens(self) -> int:
        """Return the tokens of all parts, without their frames."""
        return int(self.parts.lengths.sum())

    def blocks(self, rows: int) -> Iterator[Arrays]:
        """Yield all rows, `rows` at a time; the last block has empty rows, too."""
        for first in range(0, self.count, rows):
            numbers = np.minimum(np.arange(first, first + rows + 1), self.count)
            begins = self.begins[numbers]
            yield self.arrays(begins[:-1], begins[1:])

    def arrays(self, start: np.ndarray, end: np.ndarray) -> Arrays:
        """Return some rows.

        Args:
            start, end: [R] int64, the first member of each row and the one behind its last.

        Example: with frames [0 ...], T = 6, and examples [5, 6] and [7] in one row, read off at their last
        tokens, tokens are [0, 5, 6, 0, 7, 0], documents [0, 0, 0, 1, 1, 2] and positions [2, 4].
        """
        rows, counts = len(start), end - start
        part = self.members[np.repeat(start, counts) + within(counts)]  # [p]
        row = np.repeat(np.arange(rows), counts)
        begins = self.offsets[part] + self.parts.begin[part]
        sizes = self.parts.lengths[part]
        framed = sizes + self.frame.size
        offset = offsets_in_rows(counts, framed)
        flat = row * self.length + offset
        tokens = np.full(rows * self.length, self.frame.begin_id or 0, np.int32)
        document = np.repeat(counts, self.length).astype(np.int32)
        document[np.repeat(flat, framed) + within(framed)] = np.repeat(within(counts), framed)
        inside = within(sizes)
        to, source = np.repeat(flat + self.frame.before, sizes) + inside, np.repeat(begins, sizes) + inside
        tokens[to] = self.texts.tokens[source]
        if self.frame.end_id is not None:
            tokens[flat + framed - 1] = self.frame.end_id
        if self.texts.tags is None:
            at = offset + framed - 1 if self.last else offset
            example = self.parts.example[part]
            predicted = row, at, self.texts.labels[example], example
        else:
            predicted = self._words(part, sizes, row, to, source)
        shape = rows, self.length
        return Arrays(tokens.reshape(shape), document.reshape(shape), *self._side_by_side(rows, *predicted))

    def _words(self, part, sizes, row, to, source) -> tuple[np.ndarray, ...]:
        """Return row, position, tag and number of each word of some parts [p], in their order.

        Args:
            part, sizes, row: [p], the parts, their tokens and their rows.
            to, source: [tokens], where each token stands in the rows, and in the text.
        """
        tags, index = self.texts.tags[source], np.repeat(np.arange(len(part)), sizes)
        first, last = (self.offsets[part] + ends[part] for ends in (self.parts.first, self.parts.last))
        own = (source >= first[index]) & (source < last[index]) & (tags != NO_WORD)
        index = index[own]  # [w], the part of each word.
        numbers = self.word_numbers[part][index] + within(np.bincount(index, minlength=len(part)))
        return row[index], to[own] % self.length, tags[own], numbers

    def _side_by_side(self, rows: int, row, at, target, number) -> list[np.ndarray]:
        """Return positions, targets and numbers [R, K] of predictions [p], which come in the order of their
        rows.
        """
        column = within(np.bincount(row, minlength=rows))
        tables = []
        for values, none in ((at, 0), (target, -1), (number, -1)):
            table = np.full([rows, self.predictions], none, np.int32)
            table[row, column] = values
            tables.append(table)
        return tables


def within(counts: np.ndarray) -> np.ndarray:
    """Return 0 ... count - 1 for each count, one after the other.

    Example:
        >>> within(np.array([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    return np.arange(int(counts.sum())) - np.repeat(_before(counts), counts)


def offsets_in_rows(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return where in its row each of several parts begins that stand side by side.

    Args:
        counts: [R], parts of each row.
        sizes: [parts], positions of each part, row by row.

    Example:
        >>> offsets_in_rows(np.array([2, 1]), np.array([3, 4, 5])).tolist()
        [0, 3, 0]
    """
    before, first = _before(sizes), _before(counts)
    return before - np.repeat(np.append(before, 0)[first], counts)


def _before(counts: np.ndarray) -> np.ndarray:
    """Return the sum of the counts before each one."""
    return np.cumsum(counts) - counts
