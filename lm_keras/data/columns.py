"""Columns of a token store: a number for each token or each document, written with the tokens."""

import dataclasses
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from lm_keras.corpora.documents import Document
from lm_keras.errors import InputError

PER = ("token", "document")


@dataclasses.dataclass(frozen=True)
class Column:
    """What a store holds beside tokens, such as a label.

    Attributes:
        name: of the column, and of its file.
        per: `token` or `document`.
        dtype: of its numbers, as NumPy names it.
        value: of a column per document: document -> number. Of one per token: piece of text, its tokens [n]
            -> [n] numbers.
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
        self._per_token = column.per == "token"

    def document(self, document: Document) -> None:
        """Take in that a document begins."""
        if not self._per_token:
            self._write(np.array([self._column.value(document)]))

    def piece(self, text: str, ids: np.ndarray) -> None:
        """Take in a piece of text and its tokens [n]."""
        if self._per_token:
            values = np.asarray(self._column.value(text, ids))
            if values.shape != ids.shape:
                raise ValueError(
                    f"the column {self._column.name} has {values.shape} numbers for {ids.shape} tokens"
                )
            self._write(values)

    def between(self, count: int) -> None:
        """Take in tokens that no piece of text has."""
        if self._per_token:
            self._write(np.full(count, self._column.between))

    def _write(self, values: np.ndarray) -> None:
        limits = np.iinfo(self._dtype) if self._dtype.kind in "iu" else np.finfo(self._dtype)
        if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
            raise InputError(
                f"the column {self._column.name} has the number {values.max()}, which {self._column.dtype} "
                "cannot hold"
            )
        self._file.write(values.astype(self._dtype).tobytes())
