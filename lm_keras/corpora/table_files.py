"""Tables in files: a row is a document, one column its text and one its label, or one its source and one its
target.
"""

import abc
import dataclasses
import itertools
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts
from lm_keras.corpora.documents import Document
from lm_keras.corpora.pairs import SOURCE, TARGET, pair_of
from lm_keras.corpora.record_files import REMEDY, RecordFiles
from lm_keras.errors import InputError, nearest, shown

TEXT, LABEL, LANGUAGE = "text", "label", "language"
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
    """Where a file has what is read.

    Attributes:
        width: number of columns.
        named: whether the first row names the columns.
        text: number of the column with the text, from 0 on; None where pairs are read.
        label: number of that with the label, or None where no label is read.
        sides: numbers of those with the source and the target of a pair, or with the source alone.
        language: number of that with the language of the target, or None.
    """

    width: int
    named: bool
    text: int | None = None
    label: int | None = None
    sides: tuple[int, ...] = ()
    language: int | None = None


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
            if columns.sides:
                yield self._pair(place, fields, columns, counts)
                continue
            label = None if columns.label is None else fields[columns.label]
            if label is not None and not label.strip():
                yield InputError(f"{place}: the label is empty; {REMEDY}")
                continue
            yield self._document(place, fields[columns.text], label, counts)

    def _pair(
        self, place: str, fields: list[str], columns: Columns, counts: Counts
    ) -> Document | InputError | None:
        source, *targets = (fields[side] for side in columns.sides)
        language = None if columns.language is None else fields[columns.language].strip()
        if language == "":
            return InputError(f"{place}: the language of the target is empty; {REMEDY}")
        return pair_of(place, source, targets, self.reading, counts, self._cleaned, language)

    def _of_another_width(self, place: str, found: int, expected: int, is_quoted: bool) -> InputError:
        hint = f"{self.wider}, " if found > expected else f"{self.narrower}, " if is_quoted else ""
        return InputError(
            f"{place}: {found} column{'s' * (found != 1)}, and the first row has {expected}; {hint}{REMEDY}"
        )

    def _columns(self, path: str, rows: list[list[str]]) -> Columns:
        first = [name.strip() for name in rows[0]]
        width, wants_label = len(first), LABEL in self.reading.fields
        known = first if self._are_named(path, first, rows[1:]) else []
        if SOURCE in self.reading.fields:
            return self._columns_of_pairs(path, known, width)
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
        return Columns(width, bool(known), text, label)

    def _columns_of_pairs(self, path: str, known: list[str], width: int) -> Columns:
        wanted = [name for name in (SOURCE, TARGET) if name in self.reading.fields]
        if width < len(wanted):
            raise InputError(
                f"{shown(path)}: its rows have one column, and this task needs a source and a target;"
                f" {self.divided}"
            )
        found = [self._index(path, name, known, width) for name in wanted]
        if width == len(wanted) == found.count(None):
            found = list(range(width))
            if width > 1:
                self._remark("{}: the source is column 1 and the target column 2", path)
        elif width == 2 and len(wanted) == 2 and found.count(None) == 1:
            found = [1 - found[1 - n] if one is None else one for n, one in enumerate(found)]
        for name, column in zip(wanted, found):
            if column is None:
                raise self._no_column(path, name, known, width)
        if len(set(found)) < len(found):
            raise InputError(
                f"{shown(path)}: the source and the target are both in column {found[0] + 1}; name two"
                " columns with --source_field and --target_field"
            )
        language = self._index(path, LANGUAGE, known, width) if self.reading.language_field else None
        return Columns(width, bool(known), sides=tuple(found), language=language)

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
        wanted = {self._field(name) for name in self._read_fields()}
        if {name for name in wanted if not name.isdecimal()} & set(first):
            return True
        others = _of_width(others, len(first))
        if len(others) < 2 or not _are_short(first):
            return False
        for name, below in zip(first, _columns_of(others)):
            if name not in below and 2 * len(set(below)) <= len(below):
                return True
        return False

    def _read_fields(self) -> tuple[str, ...]:
        """Return what is looked for in the columns."""
        fields = self.reading.fields
        if SOURCE not in fields:
            return TEXT, LABEL
        return (*fields, *([LANGUAGE] if self.reading.language_field else []))

    def _field(self, what: str) -> str:
        """Return the name or number of the column that holds something."""
        return getattr(self.reading, f"{what}_field") or what

    def _index(self, path: str, what: str, known: list[str], width: int) -> int | None:
        """Return the column that a setting names; None where nobody named one and no name tells.

        Args:
            path: the file.
            what: `TEXT`, `LABEL`, `SOURCE`, `TARGET` or `LANGUAGE`.
            known: the names of its columns, or none.
            width: number of its columns.
        """
        given, field = getattr(self.reading, f"{what}_field"), self._field(what)
        if known.count(field) > 1:
            raise InputError(
                f"{shown(path)}: the column {field!r} is there {known.count(field)} times; give its number"
                f" with --{setting_of(what)}"
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
                f" {_listed(known)}; name the one with the {what} with --{setting_of(what)}, by name or"
                " number"
            )
        return InputError(
            f"{shown(path)}: no column {field!r}: it has {width} without names; give the number of the one"
            f" with the {what}, 1 to {width}, with --{setting_of(what)}, or --header=yes if the first row"
            " names them"
        )


def setting_of(what: str) -> str:
    """Return the flag that says which field holds something."""
    return "target_language_field" if what == LANGUAGE else f"{what}_field"


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
