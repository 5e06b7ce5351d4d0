"""Tables: how they are told from text, and how a column of one is learnt."""

import csv
import dataclasses
import io
import itertools
import re

from lm_keras.errors import InputError, shown
from lm_keras.paths import as_word

NAME = re.compile(r"\.(csv|tsv|tab)(\.gz)?$", re.IGNORECASE)

LOOKED_AT_ROWS = 20
LONGEST_NAME = 40
"""Characters that the name of a column may have."""


@dataclasses.dataclass(frozen=True)
class Table:
    """How a table is written.

    Attributes:
        delimiter: what separates two columns.
        names: of the columns, in the first row.
        is_quoted: whether quotes enclose a field, which then may have delimiters and line ends.
        has_quotes: whether they do so in a row that was looked at.
        is_by_line: whether each row that was looked at is one line.
    """

    delimiter: str
    names: list[str]
    is_quoted: bool
    is_by_line: bool
    has_quotes: bool


def named_as_table(path: str) -> bool:
    """Tell whether a file is named as tables are."""
    return NAME.search(path) is not None


def table_in(text: str, is_whole: bool, named: bool) -> Table | None:
    """Return how a text that looks like a table is written, or None.

    A name that says so is enough for two rows; else there must be five, with tabs, or with commas below
    names.

    Args:
        text: the beginning of a file.
        is_whole: whether this is all of it.
        named: whether the file is named as tables are.
    """
    for delimiter in "\t,;|" if named else "\t,":
        quoted = _table(text, is_whole, named, delimiter, True)
        if delimiter == "\t" and not (
            quoted and quoted.is_by_line
        ):  # Tabs rarely need quotes, so these may be text.
            quoted = _table(text, is_whole, named, delimiter, False) or quoted
        if quoted:
            return quoted
    return None


def _table(text: str, is_whole: bool, named: bool, delimiter: str, is_quoted: bool) -> Table | None:
    rows = _rows(text, delimiter, is_quoted)
    if len(rows) < (2 if named else 5):
        return None
    # The last row may be cut, where not all was looked at or the file is damaged.
    known = rows[:-1] if len(rows) > 2 or not is_whole else rows
    names = [name.strip() for name in rows[0]]
    if len(names) < 2 or any(len(row) != len(names) for row in known):
        return None
    if (
        named or (delimiter == "\t" and all(names)) or _are_names(rows[0])
    ):  # Prose has spaces behind its commas.
        is_by_line = not any("\n" in field for row in known for field in row)
        has_quotes = is_quoted and rows != _rows(text, delimiter, False)
        return Table(delimiter, names, is_quoted, is_by_line, has_quotes)
    return None


def _rows(text: str, delimiter: str, is_quoted: bool) -> list[list[str]]:
    """Return the first rows of a table, without blank lines; none if it is not one."""
    quoting = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    rows = (row for row in reader if len(row) > 1 or "".join(row).strip())
    try:
        return list(itertools.islice(rows, LOOKED_AT_ROWS))
    except csv.Error:
        return []


def _is_name(field: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w\-]*", field) is not None and len(field) <= LONGEST_NAME


def _are_names(fields: list[str]) -> bool:
    return all(map(_is_name, fields)) and len(set(fields)) == len(fields)


def refusal(path: str, table: Table) -> InputError:
    """Return the error for a table, with the flags that read a column of it."""
    names = table.names
    told = ""
    if all(map(_is_name, names)):
        told = f" ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
    scheme = "tsv" if table.delimiter == "\t" and not table.has_quotes else "csv"
    return InputError(
        f"{shown(path)} is a table of {len(names)} columns{told}: expected text; to learn a column, take"
        f" --corpus={as_word(f'{scheme}:{path}')} --text_field=COLUMN; to learn the table as it stands,"
        " rename it to .txt"
    )
