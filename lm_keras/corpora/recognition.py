"""What a file is, by its name, its first bytes and its first lines."""

import csv
import dataclasses
import json
import os
import re
from collections.abc import Callable

from lm_keras.errors import InputError, shown

HEAD_BYTES = 2**16
"""How much of a file is looked at."""

COMPRESSED = {
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
    b"\x1f\x9d": ("compress", "uncompress"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x"),
    b"Rar!\x1a\x07": ("RAR", "unrar x"),
}
"""First bytes -> the name of a format, and the command that unpacks it."""

OTHER_FORMATS = {
    b"%PDF-": "PDF",
    b"{\\rtf": "RTF",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "old Microsoft Office",
    b"ARROW1\0\0": "Arrow",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"\x93NUMPY": "NumPy",
    b"SQLite format 3\0": "SQLite",
    b"Obj\x01": "Avro",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\x7fELF": "ELF",
    b"\x80\x02": "pickle",
    b"\x80\x03": "pickle",
    b"\x80\x04": "pickle",
    b"\x80\x05": "pickle",
}
"""First bytes -> the name of a format without text that could be read as it stands."""

ZIPPED = {b"word/": "Word", b"xl/": "Excel", b"ppt/": "PowerPoint", b"application/epub": "EPUB", b"opendocument.": "OpenDocument"}  # fmt: skip
"""What the beginning of a zip file says -> the name of the format."""

RECORD_NAME = re.compile(r"\.(jsonl|ndjson|jsonlines|json)$", re.IGNORECASE)
TABLE_NAME = re.compile(r"\.(csv|tsv|tab)$", re.IGNORECASE)

LOOKED_AT_LINES = 20
LONGEST_NAME = 40
"""Characters that the name of a table's column may have."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What a file turned out to be.

    Attributes:
        is_records: whether each line is a JSON object with a text, not a line of text.
        remark: what a person should know of it, with `{}` for the name of the file; None for nothing.
    """

    is_records: bool
    remark: str | None = None


def refuse_binary(path: str, head: bytes, tail: Callable[[], bytes] = lambda: b"") -> None:
    """Raise InputError if a file's first bytes are those of a format that is no text.

    Args:
        path: the file.
        head: its first bytes, unpacked if it is a .gz file.
        tail: returns its last bytes.
    """
    name = shown(path)
    if head.startswith(b"\x1f\x8b\x08"):
        if path.lower().endswith(".gz"):
            raise InputError(f"{name} was packed by gzip twice: expected text in it; unpack it once")
        raise InputError(f"{name} is a gzip file: expected that name to end in .gz; rename it to {name}.gz")
    for magic, (kind, command) in COMPRESSED.items():
        if head.startswith(magic) and (magic != b"BZh" or head[4:10] == b"1AY&SY"):
            raise InputError(f"{name} is {_a(kind)} file: expected text or gzip; unpack it first ({command})")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        kind = next((kind for part, kind in ZIPPED.items() if part in head), None)
        remedy = "unpack it first (unzip)" if kind is None else "save its text as UTF-8 in a .txt file"
        raise InputError(f"{name} is {_a(kind or 'zip')} file: expected text; {remedy}")
    kind = next((kind for magic, kind in OTHER_FORMATS.items() if head.startswith(magic)), None)
    if head.startswith(b"PAR1") and tail().endswith((b"PAR1", b"PARE")):
        kind = "Parquet"
    if kind:
        raise InputError(
            f"{name} is {_a(kind)} file: expected text; write its text as UTF-8 to a .txt file, or as JSON lines"
        )
    if head[257:262] == b"ustar":
        raise InputError(f"{name} is a tar archive: expected text; unpack it first (tar -xf)")


def _a(kind: str) -> str:
    """Return the name of a format with its article, as it is read aloud."""
    return f"{'an' if kind[0] in 'AEO' or kind in ('RTF', 'HDF5', 'SQLite', 'xz', 'lz4') else 'a'} {kind}"


def look(path: str, head: bytes, is_whole: bool, text_field: str, has_field: Callable[[dict], bool]) -> Look:
    """Tell JSON lines from text, and text that looks like something else.

    Args:
        path: the file.
        head: its first bytes, unpacked, without a byte order mark.
        is_whole: whether these are all.
        text_field: the field of a record that holds the text.
        has_field: tells whether an object has that field.

    Raises:
        InputError: the file is certainly not text and no JSON lines either.
    """
    plain_name = re.sub(r"\.gz$", "", path, flags=re.IGNORECASE)
    text = head.decode("utf-8", "replace")
    lines = [
        line for line in (text if is_whole else text[: text.rfind("\n") + 1]).split("\n") if line.strip()
    ]
    lines = lines[:LOOKED_AT_LINES]
    if RECORD_NAME.search(plain_name):
        _refuse_other_json(path, text, lines, is_whole)
        return Look(True)
    if text.lstrip()[:1] in ("{", "["):
        return _json_by_content(text, lines, text_field, has_field)
    if table := _table(lines, TABLE_NAME.search(plain_name) is not None):
        delimiter, names, columns = table
        if TABLE_NAME.search(plain_name):
            raise _is_table(path, delimiter, names, columns)
        between = "tabs" if delimiter == "\t" else "commas"
        return Look(
            False,
            f"{{}} looks like a table of {columns} columns with {between} between: it is read as text, {between} included; "
            "to learn one column, write it as JSON lines, and name its field with --text_field",
        )
    if lines and TABLE_NAME.search(plain_name):
        return Look(
            False, "{} is named as a table and is none: it is read as text, commas and quotes included"
        )
    if re.match(r"\s*<(!doctype html|html|\?xml)\b", text, re.IGNORECASE):
        return Look(False, "{} looks like HTML or XML: its tags are read as text; take the text out first")
    return Look(False)


def _refuse_other_json(path: str, text: str, lines: list[str], is_whole: bool) -> None:
    """Raise InputError for a JSON file that is one array or one object over several lines."""
    begin, name = text.lstrip()[:1], shown(path)
    if begin not in ("{", "[") or not text.strip():
        return
    first_alone = bool(lines) and _parsed(lines[0]) is not None
    only_one = is_whole and len(lines) == 1
    target = f"{shown(os.path.basename(re.sub(r'(?i)[.](jsonl?|ndjson|jsonlines)([.]gz)?$', '', path)))}.lines.jsonl"
    source = f"zcat {name} | jq" if path.lower().endswith(".gz") else "jq"
    operand = "" if path.lower().endswith(".gz") else f" {name}"
    if begin == "[" and (not first_alone or only_one) and _continues(text, is_whole):
        raise InputError(
            f"{name} is one JSON array: expected one JSON object a line; convert it ({source} -c '.[]'{operand} > {target})"
        )
    if begin == "{" and not first_alone and re.match(r'\s*\{\s*(\n|"[^"\n]*"\s*:\s*[\[{]?\s*\n)', text):
        raise InputError(
            f"{name} is JSON over several lines: expected one JSON object a line; convert it ({source} -c .{operand} > {target})"
        )


def _continues(text: str, is_whole: bool) -> bool:
    """Tell whether the beginning of an array is sound JSON as far as it goes."""
    if is_whole:
        return _parsed(text) is not None
    return re.match(r'\s*\[\s*[\[{"\d\-tfn]', text) is not None


def _json_by_content(text: str, lines: list[str], text_field: str, has_field: Callable[[dict], bool]) -> Look:
    """Look at a file whose name says nothing, and whose first letter is a brace or a bracket."""
    records = [_parsed(line) for line in lines]
    if lines and all(isinstance(record, dict) for record in records):
        if 2 * sum(map(has_field, records)) >= len(records):
            return Look(
                True,
                f"{{}} holds JSON lines: the text of each is read from its field {text_field!r}, as of a .jsonl file",
            )
        return Look(
            False,
            f"{{}} looks like JSON lines without the field {text_field!r}: it is read as text, braces included; name the "
            "field with the text with --text_field",
        )
    if re.match(r'\s*\[\s*(\{\s*("[^"]*"\s*:|\})|"(\\.|[^"\\])*"\s*[,\]])|\s*\{\s*"[^"]*"\s*:', text):
        return Look(
            False,
            "{} looks like JSON: it is read as text, braces included; to learn texts in it, write one JSON object a line "
            "(jq -c)",
        )
    return Look(False)


def _parsed(line: str) -> object:
    """Return a JSON value, or None if a line holds none."""
    try:
        return json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _table(lines: list[str], named: bool) -> tuple[str, list[str], int] | None:
    """Return delimiter, names and number of columns if lines look like a table.

    A name that says so is enough for two lines; else there must be five, with tabs, or with commas below names.
    """
    if len(lines) < (2 if named else 5):
        return None
    for delimiter in "\t,;" if named else "\t,":
        if delimiter not in lines[0]:
            continue
        try:
            rows = list(csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            continue
        columns = len(rows[0])
        full_rows = (
            rows[:-1] if len(rows) > 2 else rows
        )  # A quoted field may go on in a line that was not looked at.
        if columns < 2 or any(len(row) != columns for row in full_rows):
            continue
        names = [name.strip() for name in rows[0]]
        if named or delimiter == "\t" or (all(map(_is_name, names)) and len(set(names)) == columns):
            return delimiter, names, columns
    return None


def _is_name(field: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w\-]*", field) is not None and len(field) <= LONGEST_NAME


def _is_table(path: str, delimiter: str, names: list[str], columns: int) -> InputError:
    told = (
        f" ({', '.join(map(shown, names[:6]))}{', ...' if columns > 6 else ''})"
        if all(map(_is_name, names))
        else ""
    )
    opened = "gzip.open" if path.lower().endswith(".gz") else "open"
    given = "" if delimiter == "," else f", delimiter={delimiter!r}"
    command = (
        f"import csv, gzip, json; [print(json.dumps(row)) for row in csv.DictReader({opened}({path!r}, 'rt', "
        f"encoding='utf-8', newline=''){given})]"
    )
    return InputError(
        f"{shown(path)} is a table of {columns} columns{told}: expected text; write it as JSON lines, python -c "
        f'"{command}" > table.jsonl, and take --corpus=text:table.jsonl --text_field=COLUMN'
    )
