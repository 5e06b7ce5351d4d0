"""Files of word vectors as text: those of word2vec, with a first line `WORDS WIDTH`, and those of GloVe,
without.

A line is a word and its numbers, with a space between; the word itself may have spaces, as some have in
GloVe's files.
"""

import codecs
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from lm_keras.disk.files import opened, without_mark, write_atomically
from lm_keras.errors import InputError, shown

LONGEST_LINE = 2**20
"""Bytes; a vector of 65,000 numbers."""

_LOOKED_AT = 2**16


@dataclasses.dataclass(frozen=True)
class Header:
    """What the first line of a file says.

    Attributes:
        width: numbers of a vector.
        words: how many there are; None where the file does not say.
    """

    width: int
    words: int | None

    @property
    def first_line(self) -> int:
        """Return the number of the line with the first vector."""
        return 1 if self.words is None else 2


def header_of(path: str | os.PathLike) -> Header:
    """Read the first line.

    Raises:
        InputError: the file cannot be read, is empty, binary or compressed, or holds no vectors.
    """
    try:
        with opened(path) as file:
            beginning = file.read(_LOOKED_AT)
            file.seek(0)
            line = without_mark(file.readline(LONGEST_LINE + 1))
    except FileNotFoundError:
        raise InputError(
            f"no file {path}: expected word vectors as text, of word2vec or GloVe, or a vectors.txt of a run"
            " of scripts/train_embeddings.py"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is in UTF-16; expected UTF-8, convert it (iconv -f UTF-16 -t UTF-8)")
    if not without_mark(beginning).strip():
        raise InputError(f"{path} is empty; expected word vectors as text")
    if beginning[:2] == b"\x1f\x8b" or beginning[:4] == b"PK\x03\x04":
        raise InputError(f"{path} is compressed; unpack it first")
    if b"\0" in beginning:
        raise InputError(
            f"{path}, line 1: a binary file; expected word vectors as text, which word2vec writes with"
            " -binary 0"
        )
    fields = _fields(line)
    if len(fields) == 2 and all(field.isdigit() and len(field) < 12 for field in fields):
        head = Header(int(fields[1]), int(fields[0]))
    else:
        head = Header(len(fields) - 1, None)
    if head.width < 1 or head.words == 0 or len(line) > LONGEST_LINE:
        raise _damaged(path, 1, f"{_start(line)} is neither a word with its numbers nor WORDS WIDTH")
    return head


def read_vectors(
    path: str | os.PathLike,
    head: Header,
    wanted: Callable[[bytes], bool] | None = None,
    most: int | None = None,
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield words as UTF-8 with their vectors, [width] float32, in the order of the file; one line is held at
    a time.

    Args:
        path: the file.
        head: what `header_of` returned.
        wanted: tells whether a word is; the lines of others are only checked for their number of fields.
        most: stop after this number of words.

    Raises:
        InputError: a line is damaged, a word that is wanted comes twice, or lines are missing; it names the
            line.
    """
    seen: dict[bytes, int] = {}
    number = head.first_line - 1
    with opened(path) as file:
        if number:
            file.readline(LONGEST_LINE + 1)
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if number == 1:
                line = without_mark(line)
            if most is not None and number - head.first_line >= most:
                return
            if len(line) > LONGEST_LINE:
                raise _damaged(path, number, f"more than {LONGEST_LINE:,} bytes")
            word, numbers = _divided(path, line, number, head)
            if wanted is not None and not wanted(word):
                continue
            if word in seen:
                raise InputError(
                    f"{path}, line {number}: {_word(word)} has a vector in line {seen[word]} already; delete"
                    " one of both"
                )
            seen[word] = number
            yield word, _numbers(path, numbers, number, word)
    found = number - head.first_line + 1
    if head.words is not None and found != head.words:
        raise InputError(
            f"{path}, line {number}: the file ends after {found:,} words, and its first line says"
            f" {head.words:,}; was it cut off? Copy it again, or correct the first line"
        )


def write_vectors(path: Path, names: Iterable[str], table: np.ndarray) -> None:
    """Write a file in word2vec's text format, whole or not at all; float32 numbers come back bit by bit.

    Args:
        path: the file.
        names: of the rows, without white space and each another.
        table: [n, width] float32.

    Raises:
        InputError: the file cannot be written.
    """
    form = " %.9g" * table.shape[1] + "\n"  # Nine digits tell every float32 from its neighbours.
    lines = [f"{table.shape[0]} {table.shape[1]}\n"]
    lines += [name + form % tuple(row.tolist()) for name, row in zip(names, table, strict=True)]
    write_atomically(path, "".join(lines).encode())


def _fields(line: bytes) -> list[bytes]:
    return line.strip(b" \r\n\t").replace(b"\t", b" ").split(b" ")


def _divided(path: str | Path, line: bytes, number: int, head: Header) -> tuple[bytes, list[bytes]]:
    """Return the word of a line and its numbers, not read yet."""
    word, *numbers = line.rstrip(b" \r\n\t").replace(b"\t", b" ").rsplit(b" ", head.width)
    if len(numbers) != head.width or not word.strip():
        count = len(_fields(line)) - 1
        raise _damaged(path, number, f"{_start(line)} has {count:,} numbers, expected {head.width:,}")
    return word, numbers


def _numbers(path: str | Path, numbers: list[bytes], number: int, word: bytes) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector = np.array(numbers, "S").astype(np.float32)
    except (ValueError, OverflowError):
        bad = next(text for text in numbers if not _is_number(text))
        raise _damaged(path, number, f"{_start(bad)} of {_word(word)} is not a number") from None
    if not np.isfinite(vector).all():
        bad = numbers[int(np.argmin(np.isfinite(vector)))]
        raise _damaged(path, number, f"{_start(bad)} of {_word(word)} is not a finite float32")
    return vector


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _damaged(path: str | Path, number: int, problem: str) -> InputError:
    return InputError(f"{path}, line {number}: {problem}; correct the line, or copy the file again")


def _word(word: bytes) -> str:
    return repr(shown(word.decode("utf-8", "replace")))[:60]


def _start(text: bytes) -> str:
    return _word(text.strip()[:40])
