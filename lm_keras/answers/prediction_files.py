"""Files of records in, files of predictions out: one record for each one, in their order.

A record is a line of text, a line of a table, a line of JSON, or in CoNLL files the lines of a sentence.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from lm_keras.answers.answer import Answer
from lm_keras.corpora import conll
from lm_keras.corpora.decoding import OTHER_MARKS
from lm_keras.corpora.json_files import TEXT, WORDS
from lm_keras.corpora.json_lines import Field, record_of
from lm_keras.corpora.table_files import LABEL
from lm_keras.disk.files import opened, writing_atomically
from lm_keras.errors import InputError, nearest, shown

FORMATS = ("lines", "tsv", "jsonl", "conll")
"""How records and predictions may be written."""

BY_NAME = {".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".conll": "conll"}
"""The format of a file of records by the end of its name; others have that of the predictions."""

LONGEST_LINE = 2**26
"""Bytes of a line, at most."""

AT_ONCE = 1_000
"""Records that are read, predicted and written at a time. Which of them share a row depends on it alone."""

SHOWN = 60
"""Characters of a text that a message shows, at most."""

DIGITS = 6
"""Decimals of a probability that is written."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One record of a file.

    Attributes:
        asked: its text, or its words; None where it has none, so that nothing is predicted.
        lines: its lines as they are, without line ends.
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
        format: one of `FORMATS`.
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


def predict(
    answer: Answer,
    source: str,
    target: str,
    format: str,
    text_field: str,
    header: str = "auto",
    label_field: str | None = None,
    too_long: str | None = None,
    batch_size: int | None = None,
) -> None:
    """Predict the labels or the targets of the records of a file; the speed goes to standard error.

    Args:
        answer: of a task with labels or pairs.
        source: the file of the records; `-` for standard input.
        target: the file of the predictions, which takes its place when all are made; `-` for standard output.
        format: of the predictions, and of the records where the name of their file says nothing else.
        text_field, header, label_field: see `InputForm`.
        too_long: see `Classifier.classify`, `Tagger.tag` and `Translator.targets`; None for what is usual
            there, as for `batch_size`.
        batch_size: rows or sources that go through the network at once.

    Raises:
        InputError: a file cannot be read or written, or a record is none.
    """
    reading = InputForm(
        "standard input" if source == "-" else source,
        format_of(source, format),
        answer.tags_words and format != "jsonl",
        text_field,
        header,
        label_field,
        answer.tags_words,
    )
    if "conll" in (format, reading.format) and not answer.tags_words:
        raise InputError(
            f"--format=conll is for words with tags; this model has --task={answer.task}: choose lines, tsv"
            " or jsonl"
        )
    too_long, batch_size = too_long or answer.usually_too_long, batch_size or answer.usual_batch_size
    began, count = time.perf_counter(), 0
    with _input(source) as file, _output(target) as write:
        records = records_of(file, reading)
        for some in iter(lambda: list(itertools.islice(records, AT_ONCE)), []):
            asked = [record for record in some if record.asked is not None]
            places = [record.where for record in asked]
            found = iter(answer.records([record.asked for record in asked], too_long, batch_size, places))
            count += len(asked)
            for record in some:
                predicted = None if record.asked is None else next(found)
                write(written(record, predicted, format, reading.format, answer.columns))
    answer.tell_of_long(too_long)
    seconds = time.perf_counter() - began
    sys.stderr.write(f"{count:,} texts in {seconds:.1f} s, {count / seconds:,.0f} a second\n")


def format_of(source: str, format: str) -> str:
    """Return the format of a file of records.

    Args:
        source: its name.
        format: of the predictions.

    Raises:
        InputError: the name is that of a table with commas.
    """
    ending = re.search(r"(\.\w+)?$", source)[0].lower()
    if ending == ".csv":
        raise InputError(
            f"--input={source}: tables with commas are not read here; write it as .tsv or .jsonl"
        )
    return BY_NAME.get(ending, format)


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
    column, width = 0, 0
    for where, line in lines:
        cells = line.split("\t")
        if not line.strip():
            yield Record(None, (line,), where)
            continue
        if not width:
            width = len(cells)
            column, is_header = text_column(cells, reading, where)
            if is_header:
                if reading.header == "auto":
                    sys.stderr.write(f"{where} names the columns; --header=no reads it as data\n")
                yield Record(None, (line,), where, between=True)
                continue
        if len(cells) != width:
            raise InputError(f"{where} has {len(cells)} columns: expected {width}, as in the first line")
        yield Record(_asked(cells[column], reading), (line,), where)


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


_READERS = {"lines": _of_lines, "tsv": _of_table, "jsonl": _of_json, "conll": _of_conll}


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
        InputError: there is no such column.
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


def written(
    record: Record,
    predicted: dict[str, Any] | None,
    format: str,
    read_as: str,
    columns: tuple[str, str] = ("predicted", "probability"),
) -> str:
    """Return the lines of a prediction, each with its line end.

    Args:
        record: what was read.
        predicted: what `Answer.records` says of it; None for an empty record.
        format: of the predictions.
        read_as: the format of the records.
        columns: what a table calls a prediction and its score.

    Raises:
        InputError: a text or a label has a line feed or a tab that such a line cannot hold.
    """
    if record.between:
        return _between(record.lines[0], format, read_as, columns)
    if predicted is None:
        return "\n"
    if format == "jsonl":
        return json.dumps(_rounded(predicted), ensure_ascii=False) + "\n"
    if format == "conll":
        pairs = zip(_held(predicted["words"], record), _held(predicted["tags"], record))
        tagged = [f"{word}\t{tag}\n" for word, tag in pairs]
        if read_as != "conll":
            return "".join(tagged) + "\n"
        words = iter(tagged)
        return "".join(
            next(words) if is_word else f"{line}\n" for line, is_word in zip(record.lines, record.words)
        )
    said = predicted.get("label") or predicted.get("target")
    (label,) = _held([" ".join(predicted["tags"]) if "tags" in predicted else said or ""], record)
    if format == "lines":
        return f"{label}\n"
    given = (
        record.lines if read_as == "tsv" else _held([predicted.get("text") or predicted["source"]], record)
    )
    score = predicted.get("probability", predicted.get("score"))
    return "\t".join([*given, label, *([] if score is None else [f"{score:.{DIGITS}f}"])]) + "\n"


def _held(texts: list[str], record: Record) -> list[str]:
    """Return texts that a line with tabs between them can hold.

    Raises:
        InputError: one has a tab or a line feed.
    """
    for text in texts:
        if "\t" in text or "\n" in text:
            raise InputError(
                f"{record.where}: '{shown(text[:SHOWN])}' has a tab or a line feed, which a line of this"
                " format cannot hold; choose --format=jsonl"
            )
    return texts


def _between(line: str, format: str, read_as: str, columns: tuple[str, str]) -> str:
    """Return what becomes of a line that holds no record: CoNLL files and tables keep theirs."""
    if format != read_as:
        return ""
    return "\t".join([line, *columns]) + "\n" if format == "tsv" else f"{line}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


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


@contextlib.contextmanager
def _input(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        file = opened(source)
    except OSError as error:
        raise InputError(f"--input={source} cannot be read: {error.strerror or error}") from None
    with file:
        yield file


@contextlib.contextmanager
def _output(target: str) -> Iterator[Callable[[str], None]]:
    if target == "-":
        yield sys.stdout.write
    elif os.path.exists(target) and not os.path.isfile(target):  # A pipe or a device stays what it is.
        try:
            with open(target, "w", encoding="utf-8", newline="") as file:
                yield file.write
        except OSError as error:
            raise InputError(f"cannot write --output={target}: {error.strerror or error}") from None
    else:
        with writing_atomically(target) as file:
            yield lambda text: file.write(text.encode())
