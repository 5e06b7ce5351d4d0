"""The corpus `csv:GLOB`: tables as Python's `csv` module reads them."""

import csv
import itertools
from collections.abc import Callable, Iterator

from lm_keras.corpora.documents import Reading
from lm_keras.corpora.record_files import LONGEST_RECORD
from lm_keras.corpora.table_files import Row, TableFiles
from lm_keras.errors import InputError, shown

DELIMITERS = ",;\t|"
"""What may stand between two columns, the usual one first."""

LOOKED_AT_LINES = 100
"""Lines that decide on the delimiter."""


class CsvFiles(TableFiles):
    """Rows of .csv files: quotes enclose a field with delimiters or line ends in it."""

    wider = "put a text with a delimiter in it between quotes"
    narrower = "write a delimiter between two columns"
    divided = "write a comma between them"

    def _rows(self, path: str, lines: Iterator[tuple[int, str]]) -> Iterator[Row]:
        for number, fields in rows_of(path, lines, lambda remark: self._remark(remark, path)):
            if len(fields) > 1 or "".join(fields).strip():
                yield number, fields


def open_source(rest: str, reading: Reading) -> CsvFiles:
    """Return the tables that globs name, several with commas between; see `TableFiles`."""
    return CsvFiles("csv", rest, reading)


def rows_of(path: str, lines: Iterator[tuple[int, str]], remark: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of a file; that of an empty line has no fields.

    Args:
        path: the file, for messages.
        lines: number, from 1 on, and text of each line, without its end.
        remark: called with a line, in which {} stands for the file, unless commas divide the columns.

    Raises:
        InputError: the quotes of a row do not close.
    """
    sample = list(itertools.islice(lines, LOOKED_AT_LINES))
    delimiter = _delimiter([line for _, line in sample])
    if delimiter != DELIMITERS[0]:
        remark(f"{{}}: its columns have {delimiter!r} between them")
    csv.field_size_limit(LONGEST_RECORD)
    every = itertools.chain(sample, lines)
    reader = csv.reader((f"{line}\n" for _, line in every), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _wrong(path, number, reader.line_num, str(error)) from None
        if fields is None:
            return
        yield number, fields


def _delimiter(lines: list[str]) -> str:
    """Return the first delimiter that divides all lines into the same number of columns, two or more."""
    for delimiter in DELIMITERS:
        widths = set()
        try:
            for fields in csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True):
                widths.add(len(fields) or None)
        except csv.Error as error:
            if "end of data" not in str(error):  # The last field may go on in the next line.
                continue
        widths -= {None}
        if len(widths) == 1 and min(widths) > 1:
            return delimiter
    return DELIMITERS[0]


def _wrong(path: str, first: int, last: int, error: str) -> InputError:
    """Return the error for a row that the `csv` module refuses.

    Args:
        path: the file.
        first, last: lines of the row.
        error: what the module says.
    """
    if "expected after" in error:
        return InputError(
            f"{shown(path)}:{last}: text behind a closing quote; write a quote within a quoted field twice"
        )
    if "new-line" in error:
        return InputError(
            f"{shown(path)}:{last}: a carriage return in a field without quotes; put it between quotes, or"
            " take it out"
        )
    return InputError(
        f"{shown(path)}:{first}: a quote is opened in this row and not closed; write a quote within a quoted"
        " field twice, and close the field"
    )
