"""The corpus `text:GLOB`: plain, gzipped and JSON-lines files."""

import codecs
import contextlib
import dataclasses
import functools
import gzip
import io
import itertools
import os
import zlib
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts, TextDecoder, check_policy, clean_string
from lm_keras.corpora.documents import (
    LONGEST_LINE,
    PIECE_BYTES,
    Corpus,
    Document,
    Reading,
    changed,
    cut_blocks,
    within_line,
)
from lm_keras.corpora.file_lists import find_files
from lm_keras.corpora.json_lines import Field
from lm_keras.corpora.recognition import HEAD_BYTES, HEAD_RECORD, look, refuse_binary
from lm_keras.corpora.remarks import Remarks
from lm_keras.corpora.separators import parsed_separator, sections
from lm_keras.errors import InputError, shown

LONGEST_RECORD = 2**28  # bytes of a JSON line, which has to fit into memory


class TextFiles(Corpus):
    """Documents in files.

    A document is a whole .gz or plain text file (line ends kept as they are, a byte order mark dropped), what
    stands between two separators in it, or the text field of one line of JSON. A file holds JSON lines if it
    is named .jsonl, .ndjson or .json, with or without .gz, or if its first lines are such. Blank lines of the
    latter are no documents, and lines whose text is empty are counted and left out. Files are read in the
    order of their paths.
    """

    def __init__(
        self, globs: str, *, text_field: str, on_bad_text: str, document_separator: str | None = None
    ):
        """Find the files and check that each can be opened; nothing is read yet.

        Args:
            globs: paths or globs, separated by commas.
            text_field: name of the field that holds the text in JSON lines; see `json_lines.Field`.
            on_bad_text: what to do with bytes that are not UTF-8 and with NUL: `error`; `replace` each by
                U+FFFD; `skip` the line (in JSON lines: the document, and also one that has no text in the
                field).
            document_separator: text between the documents of a plain file; see `separators.parsed_separator`.

        Raises:
            InputError: no such file, a folder, no permission, an unknown policy, or a separator that is none.
        """
        self.spec = f"text:{globs}"
        self.field = Field(text_field)
        self.on_bad_text = check_policy(on_bad_text)
        self.separator = parsed_separator(document_separator)
        self.files = find_files(globs)
        self._counts: dict[str, Counts] = {}
        self._states: dict[str, tuple[int, int, int]] = {}
        self._records: dict[str, bool] = {}  # whether a file holds JSON lines
        self._remarks = Remarks()
        self._num_separators = 0

    def documents(self) -> Iterator[Document]:
        """Yield every document; plain files are opened for their text only when their pieces are read.

        Raises:
            InputError: a file is no text, or one of JSON lines is damaged, empty, or has a line without the
                text.
        """
        for path in self.files:
            if self._holds_records(path):
                yield from self._lines(path)
            elif self.separator:
                yield from self._sections(path)
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

    def remarks(self) -> list[str]:
        """Return what looks wrong in the files read so far, a line each."""
        lines = self._remarks.lines()
        if self.separator and len(self._counts) == len(self.files) and not self._num_separators:
            where, each = f"is nowhere in {self.spec}", "file"
            if all(self._records.values()):
                where, each = f"divides no text in {self.spec}", "line of JSON"
            lines.append(
                f"the document separator {self.separator!r} {where}: each {each} is one document there"
            )
        return lines

    def _holds_records(self, path: str) -> bool:
        if path not in self._records:
            head, is_whole = self._head(path)
            refuse_binary(path, head, functools.partial(self._tail, path))
            head = head.removeprefix(codecs.BOM_UTF8)
            kind = look(path, head, is_whole, self.field.name, self.field.is_text_in)
            if kind.remark:
                self._remarks.add(kind.remark, path)
            self._records[path] = kind.is_records
        return self._records[path]

    def _head(self, path: str) -> tuple[bytes, bool]:
        """Return the beginning of a file, unpacked if it ends in .gz and is packed, and whether it is all
        there is.
        """
        with _told_of(path), open(path, "rb", opener=_without_waiting) as file:
            self._states.setdefault(path, _state(file))
            is_packed = path.lower().endswith(".gz") and file.peek(2).startswith(b"\x1f\x8b")
            with contextlib.suppress(EOFError, gzip.BadGzipFile, zlib.error):  # Said when it is read.
                content = gzip.GzipFile(fileobj=file) if is_packed else file
                head = content.read(HEAD_BYTES)
                begin = head.removeprefix(codecs.BOM_UTF8).lstrip()
                if begin.startswith(b"{") and b"\n" not in begin:  # A record may be longer.
                    head += content.readline(HEAD_RECORD)
                return head, not content.read(1)
        return b"", True

    def _tail(self, path: str) -> bytes:
        with _told_of(path), open(path, "rb", opener=_without_waiting) as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16))
            return file.read()

    def _pieces(self, path: str) -> Iterator[str]:
        counts = Counts()
        decoder = TextDecoder(path, self.on_bad_text, counts)
        is_first_time, has_text = path not in self._counts, False
        for block in cut_blocks(self._blocks(path), LONGEST_LINE, within_line):
            text = decoder.decode(block)
            has_text = has_text or not (text == "" or text.isspace())
            if is_first_time:
                self._remarks.of_text(text, path, self.separator)
            if text:
                yield text
        if is_first_time and decoder.advice:
            self._remarks.add(f"{{}}: {decoder.advice}", path)
        self._counts[path] = counts
        if not has_text:
            raise _empty(path, counts)

    def _sections(self, path: str) -> Iterator[Document]:
        """Yield the documents between separators; each is held in memory if it is not huge."""
        is_first_time, blank, found, is_blank = path not in self._counts, 0, 0, True
        by_number = itertools.groupby(
            sections(self._pieces(path), self.separator), lambda section: section[0]
        )
        for number, pieces in by_number:
            text, size = [], 0
            for _, piece in pieces:
                size += len(piece)
                if size <= LONGEST_RECORD:
                    text.append(piece)
            place = f"{path}, document {found + 1}"
            is_blank = size <= LONGEST_RECORD and not "".join(text).strip()
            blank += is_blank and number > 0  # A text may begin with a separator, and end with one.
            found += not is_blank
            if size > LONGEST_RECORD:
                yield Document(place, functools.partial(self._section, path, number))
            elif not is_blank:
                yield Document.from_text(place, "".join(text))
        counts = self._counts[path]
        counts.empty_documents += blank - (is_blank and number > 0)
        if is_first_time:
            self._num_separators += number
        if not found:
            raise _empty(path, counts)

    def _section(self, path: str, wanted: int) -> Iterator[str]:
        for number, piece in sections(self._pieces(path), self.separator):
            if number == wanted and piece:
                yield piece

    def _lines(self, path: str) -> Iterator[Document]:
        counts = Counts()
        decoder = TextDecoder(path, self.on_bad_text, counts)
        number = found = 0
        is_first_time, first_skipped = path not in self._counts, None

        def too_long(line: bytes) -> int:
            raise InputError(
                f"{shown(path)}: more than {LONGEST_RECORD:,} bytes without a line feed after line"
                f" {number:,}: expected one JSON object a line; cut the documents, or give them as .txt files"
            )

        for block in cut_blocks(self._blocks(path), LONGEST_RECORD, too_long):
            for line in block.removesuffix(b"\n").split(b"\n"):
                number += 1
                content = decoder.decode(line + b"\n").removeprefix("\ufeff")
                if not content.strip():
                    continue
                place = f"{shown(path)}:{number}"
                try:
                    text = self.field.text(content)
                except InputError as error:
                    if self.on_bad_text != "skip":
                        hint = "; --on_bad_text=skip leaves such lines out" if found else ""
                        raise InputError(f"{place}: {error}{hint}") from None
                    first_skipped = first_skipped or f"{place}: {error}"
                    counts.skipped_documents += 1
                    continue
                text = clean_string(text, place, self.on_bad_text, counts)
                if text is None:
                    continue
                if not text.strip():
                    counts.empty_documents += 1
                    continue
                found += 1
                if is_first_time:
                    self._remarks.of_record(text, path)
                yield Document.from_text(place, text)
        if is_first_time and decoder.advice:
            self._remarks.add(f"{{}}: {decoder.advice}", path)
        counts.skipped_documents += counts.skipped_lines  # the decoder's lines are documents here
        counts.skipped_lines = 0
        self._counts[path] = counts
        if not found:
            raise _empty(path, counts, first_skipped)

    def _blocks(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file, unpacked if it ends in .gz, in blocks of 1 MiB."""
        with _told_of(path), open(path, "rb", opener=_without_waiting) as file:
            before = self._states.setdefault(path, _state(file))
            content = gzip.GzipFile(fileobj=file) if path.lower().endswith(".gz") else file
            while _state(file) == before and (block := content.read(PIECE_BYTES)):
                yield block
            if _state(file) != before:
                raise changed(path)


def open_source(rest: str, reading: Reading) -> TextFiles:
    """Return the files that globs name, several with commas between; see `TextFiles`."""
    how = {"text_field": reading.text_field, "on_bad_text": reading.on_bad_text}
    return TextFiles(rest, **how, document_separator=reading.document_separator)


@contextlib.contextmanager
def _told_of(path: str) -> Iterator[None]:
    """Turn what reading a file can raise into one line."""
    try:
        yield
    except EOFError:
        raise InputError(
            f"{shown(path)} is a truncated gzip file: its end is missing; fetch or pack it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{shown(path)} is not a sound gzip file ({error}); fetch or pack it again"
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


def _empty(path: str, counts: Counts, first_skipped: str | None = None) -> InputError:
    if first_skipped:
        return InputError(
            f"{shown(path)}: nothing is left after skipping lines without a text: {first_skipped}"
        )
    if counts.skipped_lines or counts.skipped_documents:
        return InputError(
            f"{shown(path)}: nothing is left after skipping bad text: expected UTF-8 text; convert the file, "
            "or leave it out of the corpus"
        )
    return InputError(f"{shown(path)} is empty: expected text; leave it out of the corpus or fill it")
