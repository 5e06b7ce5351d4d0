"""The corpus `text:GLOB`: plain, gzipped and JSON-lines files."""

import dataclasses
import functools
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts, TextDecoder, check_policy, clean_string
from lm_keras.corpora.documents import (
    LONGEST_LINE,
    PIECE_BYTES,
    Corpus,
    Document,
    changed,
    cut_blocks,
    within_line,
)
from lm_keras.corpora.file_lists import find_files
from lm_keras.errors import InputError, nearest, shown

LONGEST_RECORD = 2**28  # bytes of a JSON line, which has to fit into memory


class TextFiles(Corpus):
    """Documents in files.

    A document is a whole .gz or plain text file (line ends kept as they are, a byte order mark dropped), or
    the text field of one line of a .jsonl or .jsonl.gz file. Blank lines of the latter are no documents, and
    lines whose text is empty are counted and left out. Files are read in the order of their paths.
    """

    def __init__(self, globs: str, *, text_field: str, on_bad_text: str):
        """Find the files and check that each can be opened; nothing is read yet.

        Args:
            globs: paths or globs, separated by commas.
            text_field: name of the field that holds the text in JSON lines.
            on_bad_text: what to do with bytes that are no UTF-8 and with NUL: `error`; `replace` each by
                U+FFFD; `skip` the line (in JSON lines: the document).

        Raises:
            InputError: no such file, a folder, no permission, or an unknown policy.
        """
        self.spec = f"text:{globs}"
        self.text_field = text_field
        self.on_bad_text = check_policy(on_bad_text)
        self.files = find_files(globs)
        self._counts: dict[str, Counts] = {}
        self._states: dict[str, tuple[int, int, int]] = {}

    def documents(self) -> Iterator[Document]:
        """Yield every document; those of plain files are opened only when their pieces are read.

        Raises:
            InputError: a JSON-lines file is damaged, empty, or has a line without the text.
        """
        for path in self.files:
            if path.lower().removesuffix(".gz").endswith(".jsonl"):
                yield from self._lines(path)
            else:
                yield Document(path, functools.partial(self._pieces, path))

    def report(self) -> dict[str, int]:
        """Return the counts of replaced and skipped pieces over the files read so far, without zeros.

        Reading a file again does not count again. Keys: `replaced_sequences`, `skipped_lines`,
        `skipped_documents`, `empty_documents`.
        """
        total = {field.name: 0 for field in dataclasses.fields(Counts)}
        for counts in self._counts.values():
            for name in total:
                total[name] += getattr(counts, name)
        return {name: count for name, count in total.items() if count}

    def _pieces(self, path: str) -> Iterator[str]:
        counts = Counts()
        decoder = TextDecoder(path, self.on_bad_text, counts)
        has_text = False
        for block in cut_blocks(self._blocks(path), LONGEST_LINE, within_line):
            text = decoder.decode(block)
            has_text = has_text or not (text == "" or text.isspace())
            if text:
                yield text
        self._counts[path] = counts
        if not has_text:
            raise _empty(path, counts)

    def _lines(self, path: str) -> Iterator[Document]:
        counts = Counts()
        decoder = TextDecoder(path, self.on_bad_text, counts)
        number = found = 0

        def too_long(line: bytes) -> int:
            raise InputError(
                f"{shown(path)}: more than {LONGEST_RECORD:,} bytes without a line feed after line {number:,}: "
                "expected one JSON object a line; cut the documents, or give them as .txt files"
            )

        for block in cut_blocks(self._blocks(path), LONGEST_RECORD, too_long):
            for line in block.removesuffix(b"\n").split(b"\n"):
                number += 1
                content = decoder.decode(line + b"\n")
                if not content.strip():
                    continue
                place = f"{shown(path)}:{number}"
                text = clean_string(self._field(content, place), place, self.on_bad_text, counts)
                if text is None:
                    continue
                if not text.strip():
                    counts.empty_documents += 1
                    continue
                found += 1
                yield Document.from_text(place, text)
        counts.skipped_documents += counts.skipped_lines  # the decoder's lines are documents here
        counts.skipped_lines = 0
        self._counts[path] = counts
        if not found:
            raise _empty(path, counts)

    def _field(self, line: str, place: str) -> str:
        """Return the text of one JSON line."""
        twice = (
            line.count(json.dumps(self.text_field, ensure_ascii=False)) > 1
        )  # perhaps; the hook takes time
        try:
            # Python refuses integers of many digits; nothing here needs them.
            record = json.loads(line, parse_int=float, object_pairs_hook=self._once if twice else None)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error}): expected one JSON object a line") from None
        if not isinstance(record, dict):
            raise InputError(
                f"{place}: a JSON {_kind(record)}: expected an object with the text in the field "
                f"{self.text_field!r}"
            )
        if self.text_field not in record:
            names = sorted(map(repr, record))
            there = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise InputError(
                f"{place}: no field {self.text_field!r}{nearest(self.text_field, list(record))}: the fields there "
                f"are {there or 'none'}; name the one with the text with --text_field"
            )
        text = record[self.text_field]
        if not isinstance(text, str):
            strings = [repr(name) for name, value in record.items() if isinstance(value, str)]
            raise InputError(
                f"{place}: the field {self.text_field!r} is a JSON {_kind(text)}: expected a string; fields with "
                f"strings there: {', '.join(strings[:10]) or 'none'} (choose one with --text_field)"
            )
        return text

    def _once(self, fields: list[tuple[str, object]]) -> dict:
        """Return a JSON object, in which the text must not come twice: one of both would be lost."""
        if sum(name == self.text_field for name, _ in fields) > 1:
            raise InputError(
                f"the field {self.text_field!r} comes more than once in an object: expected it once; rename one"
            )
        return dict(fields)

    def _blocks(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file, unpacked if it ends in .gz, in blocks of 1 MiB."""
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                before = self._states.setdefault(path, _state(file))
                content = gzip.GzipFile(fileobj=file) if path.lower().endswith(".gz") else file
                while _state(file) == before and (block := content.read(PIECE_BYTES)):
                    yield block
                if _state(file) != before:
                    raise changed(path)
        except EOFError:
            raise InputError(
                f"{shown(path)} is a truncated gzip file: its end is missing; fetch or pack it again"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{shown(path)} is no sound gzip file ({error}); fetch or pack it again"
            ) from None
        except OSError as error:
            raise InputError(
                f"cannot read {shown(path)}: {error.strerror or error}; expected a readable file"
            ) from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file that may have become a named pipe since it was found: nobody might ever write to that."""
    return os.open(path, flags | os.O_NONBLOCK)


def _state(file: io.BufferedReader) -> tuple[int, int, int]:
    """Return what changes when somebody writes to a file, or puts another one in its place."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _empty(path: str, counts: Counts) -> InputError:
    if counts.skipped_lines or counts.skipped_documents:
        return InputError(
            f"{shown(path)}: nothing is left after skipping bad text: expected UTF-8 text; convert the file, "
            "or leave it out of the corpus"
        )
    return InputError(f"{shown(path)} is empty: expected text; leave it out of the corpus or fill it")


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
