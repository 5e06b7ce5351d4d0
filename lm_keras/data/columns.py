"""Columns of a token store: a number for each token, each document or each word, written with the tokens."""

import dataclasses
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from lm_keras.corpora.documents import Document
from lm_keras.errors import InputError

PER = ("token", "document", "word", "part", "conversation")


@dataclasses.dataclass(frozen=True)
class Column:
    """What a store holds beside tokens, such as a label.

    Attributes:
        name: of the column, and of its file.
        per: `token`, `document`, `word`, `part` or `conversation`. A column per word has a number for each
            token, too: that of the word at the first token of the word, and `between` at all others. One per
            part has for each token that of the part of the document to which it belongs, such as the source
            of a pair. One per conversation has a number for each token of its documents.
        dtype: of its numbers, as NumPy names it.
        value: of a column per document: document -> number. Of one per token: piece of text, its tokens [n]
            -> [n] numbers. Of one per word: document -> [words] numbers. Of one per part: index of the part
            -> number. Of one per conversation: its tokens [n] and whether each is learnt, [n] bool -> [n]
            numbers.
        fingerprint: of everything else that decides the numbers; another one makes another store.
        between: the number of a token that no piece of text has: one that begins or ends a document.
    """

    name: str
    per: str
    dtype: str
    value: Callable
    fingerprint: str
    between: int = 0

    def __post_init__(self):
        if self.per not in PER or not self.name.isidentifier():
            raise ValueError(
                f"a column {self.name!r} per {self.per!r}: expected a name, per {' or '.join(PER)}"
            )


class ColumnWriter:
    """Writes a column while a text is tokenized.

    Args:
        column: which.
        file: where to.
    """

    def __init__(self, column: Column, file: BinaryIO):
        self._column, self._file, self._dtype = column, file, np.dtype(column.dtype)

    def document(self, document: Document) -> None:
        """Take in that a document begins."""
        if self._column.per == "document":
            self._write(np.array([self._column.value(document)]))

    def piece(self, text: str, ids: np.ndarray) -> None:
        """Take in a piece of text and its tokens [n]."""
        if self._column.per == "token":
            values = np.asarray(self._column.value(text, ids))
            if values.shape != ids.shape:
                raise ValueError(
                    f"the column {self._column.name} has {values.shape} numbers for {ids.shape} tokens"
                )
            self._write(values)
        elif self._column.per == "word":
            self._write(np.full(len(ids), self._column.between))

    def words(self, document: Document, size: int, firsts: np.ndarray) -> None:
        """Take in a document of words: its `size` tokens, of which `firsts` [words] begin the words."""
        if self._column.per == "word":
            values = np.full(size, self._column.between)
            values[firsts] = self._column.value(document)
            self._write(values)
        elif self._column.per == "token":
            raise ValueError(f"the column {self._column.name} is per token, and words have no pieces of text")

    def part(self, index: int, size: int) -> None:
        """Take in a part of a document, with `size` tokens: source 0 or target 1 of a pair."""
        if self._column.per == "part":
            self._write(np.full(size, self._column.value(index)))
        elif self._column.per != "document":
            raise ValueError(
                f"the column {self._column.name} is per {self._column.per}, and a pair has parts"
            )

    def conversation(self, ids: np.ndarray, learnt: np.ndarray) -> None:
        """Take in a conversation: its tokens [n], and which of them are learnt, [n] bool."""
        if self._column.per == "conversation":
            self._write(self._column.value(ids, learnt))
        elif self._column.per != "document":
            raise ValueError(
                f"the column {self._column.name} is per {self._column.per}, and this is a conversation"
            )

    def between(self, count: int) -> None:
        """Take in tokens that no piece of text has."""
        if self._column.per != "document":
            self._write(np.full(count, self._column.between))

    def _write(self, values: np.ndarray) -> None:
        limits = np.iinfo(self._dtype) if self._dtype.kind in "iu" else np.finfo(self._dtype)
        if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
            raise InputError(
                f"the column {self._column.name} has the number {values.max()}, which {self._column.dtype} "
                "cannot hold"
            )
        self._file.write(values.astype(self._dtype).tobytes())
