"""Files of records, which labels are predicted for.

A record is a line of text, a line of a table, a line of JSON, or in CoNLL files the lines of a sentence.
"""

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from lm_keras.corpora import conll, csv_files
from lm_keras.corpora.decoding import OTHER_MARKS
from lm_keras.corpora.json_files import TEXT, WORDS
from lm_keras.corpora.json_lines import Field, record_of
from lm_keras.corpora.table_files import LABEL
from lm_keras.errors import InputError, nearest

FORMATS = ("lines", "tsv", "jsonl", "conll")
"""How records and predictions may be written."""

BY_NAME = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".conll": "conll"}
"""The format of a file of records by the end of its name; others have that of the predictions."""

LONGEST_LINE = 2**26
"""Bytes of a line, at most."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One record of a file.

    Attributes:
        asked: its text, or its words; None where it has none, so that nothing is predicted.
        lines: its lines as they are, without line ends; of a .csv file the fields of its row.
        where: its file and line.
        between: whether it is a line between the sentences of a CoNLL file, or the header of a table.
        words: of a CoNLL file, which of its lines are words.
    """

    asked: str | list[str] | None
    lines: tuple[str, ...]
    where: str
    between: bool = False
    words: tuple[bool, ...] = ()


@dataclasses.dataclass(frozen=True)
class InputForm:
    """How a file of records is read.

    Attributes:
        name: of the file, for messages.
        format: one of `FORMATS`, or `csv`.
        words: whether a text is words with white space between them.
        text_field: the name of the field with the text, or the number of its column, from 1 on.
        header: `auto`, `yes` or `no`: whether the first line of a table names its columns.
        label_field: the name of the field with the label in training, if it has one: a first line of a table
            with that name names its columns.
        tags: whether words get tags, so that a record may have an array of words.
    """

    name: str
    format: str
    words: bool
    text_field: str
    header: str = "auto"
    label_field: str | None = None
    tags: bool = False


def format_of(source: str, format: str) -> str:
    """Return the format of a file of records.

    Args:
        source: its name.
        format: of the predictions.
    """
    return BY_NAME.get(re.search(r"(\.\w+)?$", source)[0].lower(), format)


def records_of(file: BinaryIO, reading: InputForm) -> Iterator[Record]:
    """Yield the records of a file.

    Raises:
        InputError: a line does not hold a record; the message has its number.
    """
    lines = _lines(file, reading.name)
    return _READERS[reading.format](lines, reading)


def _of_lines(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    for where, line in lines:
        yield Record(_asked(line, reading), (line,), where)


def _of_table(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    return _of_rows(((where, line.split("\t"), (line,)) for where, line in lines), reading)


def _of_csv(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    numbered = ((number, line) for number, (_, line) in enumerate(lines, 1))
    rows = csv_files.rows_of(
        reading.name, numbered, lambda remark: sys.stderr.write(f"{remark.format(reading.name)}\n")
    )
    places = ((f"{reading.name}:{number}", cells, tuple(cells)) for number, cells in rows)
    return _of_rows(places, reading)


def _of_rows(rows: Iterator[tuple[str, list[str], tuple[str, ...]]], reading: InputForm) -> Iterator[Record]:
    """Yield the records of a table.

    Args:
        rows: where each row is, its cells, and the `lines` of its record.
        reading: how they are read.
    """
    column, width = 0, 0
    for where, cells, lines in rows:
        if not "".join(cells).strip():
            yield Record(None, lines, where)
            continue
        if not width:
            width = len(cells)
            column, is_header = text_column(cells, reading, where)
            if is_header:
                if reading.header == "auto":
                    sys.stderr.write(f"{where} names the columns; --header=no reads it as data\n")
                yield Record(None, lines, where, between=True)
                continue
        if len(cells) != width:
            raise InputError(f"{where} has {len(cells)} columns: expected {width}, as in the first line")
        yield Record(_asked(cells[column], reading), lines, where)


def _of_json(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    more = WORDS if reading.tags and reading.text_field == TEXT else ()
    fields = [Field(name) for name in (reading.text_field, *more)]
    for where, line in lines:
        if not line.lstrip().startswith("{"):
            yield Record(_asked(line, reading), (line,), where)  # A plain text.
            continue
        try:
            record = record_of(line, fields, f"with the text in the field {reading.text_field!r}")
            words = next((found for field in fields if isinstance(found := field.of(record), list)), None)
            if words is None or not reading.tags:
                asked = _asked(fields[0].text_in(record), reading)
            elif all(isinstance(word, str) and word.strip() for word in words):
                asked = words
            else:
                raise InputError("an array of words has something else than words; expected strings")
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        yield Record(asked or None, (line,), where)


def _of_conll(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    """Read words as `corpora.conll` does; a word needs no tag here."""
    layout, column = conll.Lines(), conll.column_of(reading.text_field)
    sentence: list[tuple[str, str | None]] = []  # Its lines, each with its word.
    first = ""
    for where, line in lines:
        columns = layout.columns(line)
        if columns == [] or (columns is None and not sentence):
            yield from _sentence(sentence, first)
            sentence = []
            yield Record(None, (line,), where, between=True)
            continue
        if columns is not None:
            conll.check_no_numbers(where, columns, column)
        first = first if sentence else where
        sentence.append((line, None if columns is None else _word(columns, column or 0, layout.width, where)))
    yield from _sentence(sentence, first)


def _word(columns: list[str], column: int, width: int, where: str) -> str:
    if len(columns) > width or column >= len(columns):
        raise InputError(
            f"{where} has {len(columns)} columns, and the first word has {width}; the word is in column"
            f" {column + 1} (--text_field)"
        )
    if not columns[column]:
        raise InputError(f"{where}: the word is empty; correct the line or leave it out")
    return columns[column]


def _sentence(lines: list[tuple[str, str | None]], where: str) -> Iterator[Record]:
    if lines:
        words = [word for _, word in lines if word is not None]
        yield Record(
            words, tuple(line for line, _ in lines), where, words=tuple(word is not None for _, word in lines)
        )


_READERS = {"lines": _of_lines, "tsv": _of_table, "csv": _of_csv, "jsonl": _of_json, "conll": _of_conll}


def _asked(text: str, reading: InputForm) -> str | list[str] | None:
    """Return what is asked of a text, or None of one without any character but white space."""
    if not text.strip():
        return None
    return text.split() if reading.words else text


def text_column(cells: list[str], reading: InputForm, where: str) -> tuple[int, bool]:
    """Return the column of the text, from 0 on, and whether the first line of a table names its columns.

    Args:
        cells: of the first line.
        reading: with `auto` as header, a line with the name of the text or of the label is one. Of a single
            column the name of the text does not matter.
        where: the file and the line, for messages.

    Raises:
        InputError: the column is missing.
    """
    names, text_field = [cell.strip() for cell in cells], reading.text_field
    asked = {name for name in (text_field, reading.label_field or LABEL) if not name.isdecimal()}
    if len(cells) == 1:
        asked -= {reading.label_field or LABEL}
    is_header = reading.header == "yes" or (reading.header == "auto" and not asked.isdisjoint(names))
    if is_header and text_field in names:
        return names.index(text_field), True
    if len(cells) == 1:
        return 0, is_header
    if text_field.isdecimal() and 1 <= int(text_field) <= len(cells):
        return int(text_field) - 1, is_header
    raise InputError(
        f"{where} has no column {text_field!r}{nearest(text_field, names)}; give its name, or its number, 1"
        f" to {len(cells)}, with --text_field"
    )


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[str, str]]:
    """Yield `file:line` and the text of each line, without its end and without a byte order mark.

    Only a line feed ends a line: other characters that Python takes for line ends belong to texts.
    """
    for number, line in enumerate(_raw_lines(file, name), 1):
        where = f"{name}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            other = next((of for mark, of in OTHER_MARKS.items() if line.startswith(mark)), None)
            remedy = f"; the file is {other}, convert it (iconv -f {other} -t UTF-8)" if other else ""
            raise InputError(f"{where} is not UTF-8 at byte {error.start} of the line{remedy}") from None
        if "\0" in text:
            raise InputError(f"{where} has a NUL; expected text, remove it (tr -d '\\000')")
        yield where, text.removesuffix("\n").removesuffix("\r")


def _raw_lines(file: BinaryIO, name: str) -> Iterable[bytes]:
    try:
        for line in iter(lambda: file.readline(LONGEST_LINE + 1), b""):
            if len(line) > LONGEST_LINE:
                raise InputError(
                    f"{name} has a line of more than {LONGEST_LINE:,} bytes; cut it into several"
                )
            yield line
    except OSError as error:
        raise InputError(f"--input={name} cannot be read: {error.strerror or error}") from None
