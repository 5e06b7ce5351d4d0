"""Files of records in, files of predictions out: one prediction for each record, in their order."""

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from lm_keras.answers.answer import Answer
from lm_keras.answers.input_records import InputForm, Record, format_of, records_of
from lm_keras.disk.files import opened, writing_atomically
from lm_keras.errors import InputError, shown

AT_ONCE = 1_000
"""Records that are read, predicted and written at a time. Which of them share a row depends on it alone."""

SHOWN = 60
"""Characters of a text that a message shows, at most."""

DIGITS = 6
"""Decimals of a probability that is written."""


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
        return _between(record, format, read_as, columns)
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
    if read_as == "tsv":
        given = list(record.lines)
    elif read_as == "csv":
        given = _held(list(record.lines), record)
    else:
        given = _held([predicted.get("text") or predicted["source"]], record)
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


def _between(record: Record, format: str, read_as: str, columns: tuple[str, str]) -> str:
    """Return what becomes of a line that holds no record: CoNLL files and tables keep theirs."""
    if format == "tsv" and read_as in ("tsv", "csv"):
        names = record.lines if read_as == "tsv" else _held(list(record.lines), record)
        return "\t".join([*names, *columns]) + "\n"
    return f"{record.lines[0]}\n" if format == read_as else ""


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


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
