"""What a file is, by its name, its first bytes and its first lines."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable

from lm_keras.corpora.tables import named_as_table, refusal, table_in
from lm_keras.errors import InputError, shown
from lm_keras.paths import as_word

HEAD_BYTES = 2**16
"""How much of a file is looked at."""

HEAD_RECORD = 2**24
"""How much more where its first line, that of a record perhaps, has no end there."""

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

OF_LETTERS = {
    "PDF": re.compile(rb"%PDF-\d\.\d"),
    "RTF": re.compile(rb"\{\\rtf[\d\\]"),
    "tar": re.compile(rb"(?s).{257}ustar(\0|  \0)"),
}
"""What files of some formats begin with that are told from text by more than the letters of their names."""

ZIPPED = {
    b"word/": "Word",
    b"xl/": "Excel",
    b"ppt/": "PowerPoint",
    b"application/epub": "EPUB",
    b"opendocument.": "OpenDocument",
}
"""What the beginning of a zip file says -> the name of the format."""

RECORD_NAME = re.compile(r"\.(jsonl|ndjson|jsonlines|json)$", re.IGNORECASE)

LOOKED_AT_LINES = 20

_JSON = re.compile(r'\s*\[\s*(\{\s*("[^"]*"\s*:|\})|"(\\.|[^"\\])*"\s*[,\]])|\s*\{\s*"[^"]*"\s*:')
"""How JSON begins that may hold text."""


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
    """Raise InputError if a file's first bytes are those of a format that is not text.

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
    kind = kind or next((kind for kind, begin in OF_LETTERS.items() if begin.match(head)), None)
    if head.startswith(b"PAR1") and b"\0" in head and tail().endswith((b"PAR1", b"PARE")):
        kind = "Parquet"
    if kind == "tar":
        raise InputError(f"{name} is a tar archive: expected text; unpack it first (tar -xf)")
    if kind:
        raise InputError(
            f"{name} is {_a(kind)} file: expected text; write its text as UTF-8 to a .txt file, or as JSON"
            " lines"
        )


def _a(kind: str) -> str:
    """Return the name of a format with its article, as it is read aloud."""
    return f"{'an' if kind[0] in 'AEO' or kind in ('RTF', 'HDF5', 'SQLite', 'xz', 'lz4') else 'a'} {kind}"


def look(path: str, head: bytes, is_whole: bool, text_field: str, has_field: Callable[[dict], bool]) -> Look:
    """Tell JSON lines from text, and text that looks like something else.

    Args:
        path: the file.
        head: its first bytes, unpacked, without a byte order mark; the whole first line of a file of JSON
            lines.
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
    if text.lstrip()[:1] in ("{", "[") or _mostly(line.lstrip().startswith("{") for line in lines):
        return _json_by_content(text, lines, is_whole, text_field, has_field)
    named = named_as_table(path)
    if table := table_in(text, is_whole, named):
        if named:
            raise refusal(path, table)
        between, scheme = {"\t": ("tabs", "tsv"), ",": ("commas", "csv")}[table.delimiter]
        return Look(
            False,
            f"{{}} looks like a table of {len(table.names)} columns with {between} between: it is read as"
            f" text, {between} included; to learn one column, take --corpus={scheme}:GLOB"
            " --text_field=COLUMN",
        )
    if lines and named:
        return Look(
            False,
            "{} is named as a table, but the same columns are not found in all its lines: it is read as text,"
            " as it stands",
        )
    if re.match(r"\s*<(!doctype\s+html|html[\s>]|\?xml\s+version\b)", text, re.IGNORECASE):
        return Look(False, "{} looks like HTML or XML: its tags are read as text; take the text out first")
    return Look(False)


def _refuse_other_json(path: str, text: str, lines: list[str], is_whole: bool) -> None:
    """Raise InputError for a JSON file that is one array or one object over several lines."""
    begin, name = text.lstrip()[:1], shown(path)
    if begin not in ("{", "[") or not text.strip():
        return
    first_alone = bool(lines) and _parsed(lines[0]) is not None
    only_one = is_whole and len(lines) == 1
    plain = os.path.basename(re.sub(r"(?i)[.](jsonl?|ndjson|jsonlines)([.]gz)?$", "", path))
    target, is_packed = as_word(f"{plain}.lines.jsonl"), path.lower().endswith(".gz")
    source = f"zcat {as_word(path)} | jq" if is_packed else "jq"
    operand = "" if is_packed else f" {as_word(path)}"
    if begin == "[" and (not first_alone or only_one) and _continues(text, is_whole):
        raise InputError(
            f"{name} is one JSON array: expected one JSON object a line; convert it ({source} -c"
            f" '.[]'{operand} > {target})"
        )
    if begin == "{" and not first_alone and re.match(r'\s*\{\s*(\n|"[^"\n]*"\s*:\s*[\[{]?\s*\n)', text):
        raise InputError(
            f"{name} is JSON over several lines: expected one JSON object a line; convert it ({source} -c"
            f" .{operand} > {target})"
        )


def _continues(text: str, is_whole: bool) -> bool:
    """Tell whether the beginning of an array is sound JSON as far as it goes."""
    if is_whole:
        return _parsed(text) is not None
    return re.match(r'\s*\[\s*[\[{"\d\-tfn]', text) is not None


def _json_by_content(
    text: str, lines: list[str], is_whole: bool, text_field: str, has_field: Callable[[dict], bool]
) -> Look:
    """Look at a file whose name says nothing, and that begins with a brace or a bracket, or has them in most
    lines.
    """
    parsed = [_parsed(line) for line in lines]
    records = [record for record in parsed if isinstance(record, dict)]
    if _mostly(
        isinstance(record, dict) for record in parsed
    ):  # What the others are is said when they are read.
        if 2 * sum(map(has_field, records)) >= len(records):
            return Look(
                True,
                f"{{}} holds JSON lines: the text of each is read from its field {text_field!r}, as of a"
                " .jsonl file",
            )
        return Look(
            False,
            f"{{}} looks like JSON lines without the field {text_field!r}: it is read as text, braces"
            " included; name the field with the text with --text_field",
        )
    if _JSON.match(text) and (not is_whole or _is_sound_in_half(text)):
        return Look(
            False,
            "{} looks like JSON: it is read as text, braces included; to learn texts in it, write one JSON"
            " object a line (jq -c)",
        )
    return Look(False)


def _mostly(answers: Iterable[bool]) -> bool:
    """Tell whether three of four answers or more are yes."""
    answers = list(answers)
    return 4 * sum(answers) >= 3 * len(answers) > 0


def _is_sound_in_half(text: str) -> bool:
    """Tell whether a text is JSON, or is so in its first half; prose may begin like JSON."""
    try:
        json.loads(text, parse_int=float)
    except json.JSONDecodeError as error:
        return 2 * error.pos >= len(text)
    except RecursionError:
        pass
    return True


def _parsed(line: str) -> object:
    """Return a JSON value, or None if a line holds none."""
    try:
        return json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None
