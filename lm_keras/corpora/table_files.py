"""Tables in files: a row is a document, one column its text and one its label."""

import abc
import dataclasses
import itertools
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts
from lm_keras.corpora.documents import Document
from lm_keras.corpora.record_files import REMEDY, RecordFiles
from lm_keras.errors import InputError, nearest, shown

TEXT, LABEL = "text", "label"
"""What the columns are called that are looked for without a setting."""

LOOKED_AT_ROWS = 1000
"""Rows that decide whether the first one names the columns, and which one has the label."""

LONGEST_NAME = 40
MOST_WORDS_OF_NAME = 3
"""Characters and words that the name of a column may have where only the rows below tell that it is one."""

SHOWN_COLUMNS = 8

Row = tuple[int, list[str]]
"""The number of the first line of a row, and its fields."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where a file has its text and its label.

    Attributes:
        width: number of columns.
        text: number of the column with the text, from 0 on.
        label: number of that with the label, or None where no label is read.
        named: whether the first row names the columns.
    """

    width: int
    text: int
    label: int | None
    named: bool


class TableFiles(RecordFiles):
    """Rows of tables.

    The first row names the columns if it has a name that is asked for, or if it is short, and the label in it
    does not come again below, where others do. A column is chosen by its name or number. Without a setting
    the text is in the column `text` and the label in `label`; of two columns without such names the label is
    in the one with fewer different values.

    Attributes:
        wider: what to do with a row that has too many columns, in words.
        narrower: what to do with one that has too few, and a field that begins with a quote.
        divided: what separates columns, in words.
    """

    wider: str
    narrower: str
    divided: str

    @abc.abstractmethod
    def _rows(self, path: str, lines: Iterator[tuple[int, str]]) -> Iterator[Row]:
        """Yield the rows of a file, without empty ones; the arguments are those of `_records`."""

    def _records(
        self, path: str, lines: Iterator[tuple[int, str]], counts: Counts
    ) -> Iterator[Document | InputError | None]:
        rows = self._rows(path, lines)
        first_rows = list(itertools.islice(rows, LOOKED_AT_ROWS))
        if not first_rows:
            return
        columns = self._columns(path, [fields for _, fields in first_rows])
        for number, fields in itertools.chain(first_rows[columns.named :], rows):
            place = f"{shown(path)}:{number}"
            if len(fields) != columns.width:
                is_quoted = any(field.startswith('"') for field in fields)
                yield self._of_another_width(place, len(fields), columns.width, is_quoted)
                continue
            label = None if columns.label is None else fields[columns.label]
            if label is not None and not label.strip():
                yield InputError(f"{place}: the label is empty; {REMEDY}")
                continue
            yield self._document(place, fields[columns.text], label, counts)

    def _of_another_width(self, place: str, found: int, expected: int, is_quoted: bool) -> InputError:
        hint = f"{self.wider}, " if found > expected else f"{self.narrower}, " if is_quoted else ""
        return InputError(
            f"{place}: {found} column{'s' * (found != 1)}, and the first row has {expected}; {hint}{REMEDY}"
        )

    def _columns(self, path: str, rows: list[list[str]]) -> Columns:
        first = [name.strip() for name in rows[0]]
        width, wants_label = len(first), LABEL in self.reading.fields
        known = first if self._are_named(path, first, rows[1:]) else []
        text = self._index(path, TEXT, known, width)
        label = self._index(path, LABEL, known, width) if wants_label else None
        if width == 1 and text is None:
            text = 0
        if width == 2 and (text is None or label is None):
            if text is None:
                text = 1 - (_fewest_values(rows[1:] or rows) if label is None else label)
            if wants_label:
                label = 1 - text
                self._remark(f"{{}}: the text is column {text + 1} and the label column {label + 1}", path)
        if width == 1 and wants_label:
            raise InputError(
                f"{shown(path)}: its rows have one column, and this task needs a text and a label;"
                f" {self.divided}"
            )
        if text is None or (wants_label and label is None):
            raise self._no_column(path, LABEL if text is not None else TEXT, known, width)
        if text == label:
            raise InputError(
                f"{shown(path)}: the text and the label are both in column {text + 1}; name two columns with"
                " --text_field and --label_field"
            )
        return Columns(width, text, label, bool(known))

    def _are_named(self, path: str, first: list[str], others: list[list[str]]) -> bool:
        header, looks_named = self.reading.header, self._looks_named(first, others)
        names = _listed(first)
        if header == "yes" or (header == "auto" and looks_named):
            self._remark(
                f"{{}}: its first row names the columns, {names}; --header=no reads it as data", path
            )
        elif header == "no" and looks_named:
            self._remark(f"{{}}: its first row, {names}, looks like names, and is read as data", path)
        elif header == "auto" and _may_name(first, _of_width(others, len(first))):
            self._remark(
                f"{{}}: its first row, {names}, is read as data; if it names the columns, take --header=yes",
                path,
            )
        return header == "yes" or (header == "auto" and looks_named)

    def _looks_named(self, first: list[str], others: list[list[str]]) -> bool:
        """Tell whether the first row names columns."""
        wanted = {self.reading.text_field, self.reading.label_field or LABEL}
        if {name for name in wanted if not name.isdecimal()} & set(first):
            return True
        others = _of_width(others, len(first))
        if len(others) < 2 or not _are_short(first):
            return False
        for name, below in zip(first, _columns_of(others)):
            if name not in below and 2 * len(set(below)) <= len(below):
                return True
        return False

    def _index(self, path: str, what: str, known: list[str], width: int) -> int | None:
        """Return the column that a setting names; None where nobody named one and no name tells.

        Args:
            path: the file.
            what: `TEXT` or `LABEL`.
            known: the names of its columns, or none.
            width: number of its columns.
        """
        given = self.reading.text_field if what == TEXT else self.reading.label_field
        field = given or what
        if known.count(field) > 1:
            raise InputError(
                f"{shown(path)}: the column {field!r} is there {known.count(field)} times; give its number"
                f" with --{what}_field"
            )
        if field in known:
            return known.index(field)
        if field.isdecimal() and 1 <= int(field) <= width:
            return int(field) - 1
        if given in (None, TEXT):
            return None
        raise self._no_column(path, what, known, width, field)

    def _no_column(
        self, path: str, what: str, known: list[str], width: int, field: str | None = None
    ) -> InputError:
        field = field or what
        if known:
            return InputError(
                f"{shown(path)}: no column {field!r}{nearest(field, known)}: its columns are"
                f" {_listed(known)}; name the one with the {what} with --{what}_field, by name or number"
            )
        return InputError(
            f"{shown(path)}: no column {field!r}: it has {width} without names; give the number of the one"
            f" with the {what}, 1 to {width}, with --{what}_field, or --header=yes if the first row"
            " names them"
        )


def _of_width(rows: list[list[str]], width: int) -> list[list[str]]:
    return [row for row in rows if len(row) == width]


def _columns_of(rows: list[list[str]]) -> list[list[str]]:
    return [[field.strip() for field in column] for column in zip(*rows)]


def _are_short(first: list[str]) -> bool:
    """Tell whether the fields of a row are different and short, as names are."""
    if len(first) < 2 or len(set(first)) < len(first) or not all(first):
        return False
    return not any(len(name) > LONGEST_NAME or len(name.split()) > MOST_WORDS_OF_NAME for name in first)


def _may_name(first: list[str], others: list[list[str]]) -> bool:
    """Tell whether a row may name columns of which nothing else tells: it is short, and no field of it comes
    again below, where the values are mostly different.
    """
    if len(others) < 2 or not _are_short(first):
        return False
    return not any(name in below for name, below in zip(first, _columns_of(others)))


def _listed(names: list[str]) -> str:
    shown_names = ", ".join(map(repr, names[:SHOWN_COLUMNS]))
    return f"{shown_names}, ..." if len(names) > SHOWN_COLUMNS else shown_names


def _fewest_values(rows: list[list[str]]) -> int:
    """Return which of two columns has the label: the second one, unless it has many more values."""
    first, second = ({row[column] for row in rows if len(row) == 2} for column in (0, 1))
    return 0 if 2 * len(first) <= len(second) else 1
