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
from lm_keras.corpora.decoding import OTHER_MARKS
from lm_keras.corpora.json_lines import Field
from lm_keras.disk.files import opened, writing_atomically
from lm_keras.errors import InputError, nearest

FORMATS = ("lines", "tsv", "jsonl", "conll")
"""How records and predictions may be written."""

BY_NAME = {".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".conll": "conll"}
"""The format of a file of records by the end of its name; others have that of the predictions."""

LONGEST_LINE = 2**26
"""Bytes of a line, at most."""

AT_ONCE = 1_000
"""Records that are read, predicted and written at a time. Which of them share a row depends on it alone."""

REMARKS = ("# ", "-DOCSTART-")
"""How lines of CoNLL files begin that belong to no sentence."""

DIGITS = 6
"""Decimals of a probability that is written."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One record of a file.

    Attributes:
        asked: its text, or its words; None where it has none, so that nothing is predicted.
        lines: its lines as they are, without line ends.
        between: whether it only stands between the sentences of a CoNLL file.
    """

    asked: str | list[str] | None
    lines: tuple[str, ...]
    between: bool = False


@dataclasses.dataclass(frozen=True)
class InputForm:
    """How a file of records is read.

    Attributes:
        name: of the file, for messages.
        format: one of `FORMATS`.
        words: whether a text is words with white space between them.
        text_field: the name of the field with the text, or the number of its column, from 1 on.
        header: `auto`, `yes` or `no`: whether the first line of a table names its columns.
    """

    name: str
    format: str
    words: bool
    text_field: str
    header: str = "auto"


def predict(
    answer: Answer,
    source: str,
    target: str,
    format: str,
    text_field: str,
    header: str = "auto",
    too_long: str | None = None,
    batch_size: int = 16,
) -> None:
    """Predict the labels of the records of a file; the speed goes to standard error.

    Args:
        answer: of a task with labels.
        source: the file of the records; `-` for standard input.
        target: the file of the predictions, which takes its place when all are made; `-` for standard output.
        format: of the predictions, and of the records where the name of their file says nothing else.
        text_field, header: see `InputForm`.
        too_long: see `Classifier.classify` and `Tagger.tag`; None for what is usual there.
        batch_size: rows that go through the network at once.

    Raises:
        InputError: a file cannot be read or written, or a record is none.
    """
    reading = InputForm(
        "standard input" if source == "-" else source,
        format_of(source, format),
        answer.tags_words and format != "jsonl",
        text_field,
        header,
    )
    if "conll" in (format, reading.format) and not answer.tags_words:
        raise InputError(
            "--format=conll is for words with tags; this model classifies texts: choose lines, tsv or jsonl"
        )
    too_long = too_long or answer.usually_too_long
    began, count = time.perf_counter(), 0
    with _input(source) as file, _output(target) as write:
        records = records_of(file, reading)
        for some in iter(lambda: list(itertools.islice(records, AT_ONCE)), []):
            asked = [record.asked for record in some if record.asked is not None]
            found = iter(answer.records(asked, too_long, batch_size))
            count += len(asked)
            for record in some:
                predicted = None if record.asked is None else next(found)
                write(written(record, predicted, format, reading.format))
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
        InputError: a line is no text, or no record; the message has its number.
    """
    lines = _lines(file, reading.name)
    return _READERS[reading.format](lines, reading)


def _of_lines(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    for _, line in lines:
        yield Record(_asked(line, reading), (line,))


def _of_table(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    column, width = 0, 0
    for where, line in lines:
        cells = line.split("\t")
        if not line.strip():
            yield Record(None, (line,))
            continue
        if not width:
            width = len(cells)
            column, is_header = text_column(cells, reading.text_field, reading.header, where)
            if is_header:
                yield Record(None, (line,), between=True)
                continue
        if len(cells) != width:
            raise InputError(f"{where} has {len(cells)} columns: expected {width}, as in the first line")
        yield Record(_asked(cells[column], reading), (line,))


def _of_json(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    field = Field(reading.text_field)
    for where, line in lines:
        if not line.lstrip().startswith("{"):
            yield Record(_asked(line, reading), (line,))  # A plain text.
            continue
        try:
            words = json.loads(line, parse_int=float).get("words")
            is_words = isinstance(words, list) and all(isinstance(word, str) for word in words)
            asked = words if is_words else _asked(field.text(line), reading)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: {error}") from None
        yield Record(asked or None, (line,))


def _of_conll(lines: Iterator[tuple[str, str]], reading: InputForm) -> Iterator[Record]:
    sentence: list[str] = []
    for _, line in lines:
        if line.strip() and not line.startswith(REMARKS):
            sentence.append(line)
            continue
        yield from _sentence(sentence)
        sentence = []
        yield Record(None, (line,), between=True)
    yield from _sentence(sentence)


def _sentence(lines: list[str]) -> Iterator[Record]:
    if lines:
        yield Record([line.split()[0] for line in lines], tuple(lines))


_READERS = {"lines": _of_lines, "tsv": _of_table, "jsonl": _of_json, "conll": _of_conll}


def _asked(text: str, reading: InputForm) -> str | list[str] | None:
    """Return what is asked of a text, or None of one without any character but white space."""
    if not text.strip():
        return None
    return text.split() if reading.words else text


def text_column(cells: list[str], text_field: str, header: str, where: str) -> tuple[int, bool]:
    """Return the column of the text, from 0 on, and whether the first line of a table names its columns.

    Args:
        cells: of the first line.
        text_field: the name of the column, or its number, from 1 on. Of a single column it does not matter.
        header: `auto`, `yes` or `no`. `auto` takes a first line with that name for a header.
        where: the file and the line, for messages.

    Raises:
        InputError: there is no such column.
    """
    names = [cell.strip() for cell in cells]
    by_name = not text_field.isdecimal() or header == "yes"
    if by_name and text_field in names and header != "no":
        return names.index(text_field), True
    if len(cells) == 1:
        return 0, header == "yes"
    if text_field.isdecimal() and 1 <= int(text_field) <= len(cells):
        return int(text_field) - 1, header == "yes"
    raise InputError(
        f"{where} has no column {text_field!r}{nearest(text_field, names)}; give its name, or its number, 1"
        f" to {len(cells)}, with --text_field"
    )


def written(record: Record, predicted: dict[str, Any] | None, format: str, read_as: str) -> str:
    """Return the lines of a prediction, each with its line end.

    Args:
        record: what was read.
        predicted: what `Answer.records` says of it; None for an empty record.
        format: of the predictions.
        read_as: the format of the records.
    """
    if record.between:
        return _between(record.lines[0], format, read_as)
    if predicted is None:
        return "\n"
    if format == "jsonl":
        return json.dumps(_rounded(predicted), ensure_ascii=False) + "\n"
    if format == "conll":
        pairs = zip(predicted["words"], predicted["tags"])
        sentence = "".join(f"{word}\t{tag}\n" for word, tag in pairs)
        return sentence if read_as == "conll" else sentence + "\n"
    label = predicted["label"] if "label" in predicted else " ".join(predicted["tags"])
    if format == "lines":
        return f"{label}\n"
    cells = [*record.lines, label] if read_as == "tsv" else [predicted["text"], label]
    if "label" in predicted:
        cells.append(f"{predicted['probability']:.{DIGITS}f}")
    return "\t".join(cells) + "\n"


def _between(line: str, format: str, read_as: str) -> str:
    """Return what becomes of a line that holds no record: CoNLL files and tables keep theirs."""
    if format != read_as:
        return ""
    return f"{line}\tpredicted\tprobability\n" if format == "tsv" else f"{line}\n"


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
