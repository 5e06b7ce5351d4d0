"""The corpus `text:GLOB`: plain, gzipped and JSON-lines files."""

import codecs
import contextlib
import functools
import gzip
import itertools
import zlib
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts, TextDecoder, clean_string
from lm_keras.corpora.documents import LONGEST_LINE, Document, Reading, cut_blocks, within_line
from lm_keras.corpora.file_corpus import FileCorpus, no_text
from lm_keras.corpora.json_lines import Field
from lm_keras.corpora.recognition import HEAD_BYTES, HEAD_RECORD, look, refuse_binary
from lm_keras.corpora.separators import parsed_separator, sections
from lm_keras.errors import InputError, shown

LONGEST_RECORD = 2**28  # bytes of a JSON line, which has to fit into memory


class TextFiles(FileCorpus):
    """Documents in files.

    A document is a whole .gz or plain text file (line ends kept as they are, a byte order mark dropped), what
    stands between two separators in it, or the text field of one line of JSON. A file holds JSON lines if it
    is named .jsonl, .ndjson or .json, with or without .gz, or if its first lines are such. Blank lines of the
    latter are not documents, and lines whose text is empty are counted and left out. Files are read in the
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
        self.field = Field(text_field)
        self.separator = parsed_separator(document_separator)
        super().__init__("text", globs, on_bad_text)
        self._records: dict[str, bool] = {}  # whether a file holds JSON lines
        self._num_separators = 0

    def documents(self) -> Iterator[Document]:
        """Yield every document; plain files are opened for their text only when their pieces are read.

        Raises:
            InputError: a file is not text, or one of JSON lines is damaged, empty, or has a line without the
                text.
        """
        for path in self.files:
            if self._holds_records(path):
                yield from self._lines(path)
            elif self.separator:
                yield from self._sections(path)
            else:
                yield Document(path, functools.partial(self._pieces, path))

    def remarks(self) -> list[str]:
        """Return what looks wrong in the files read so far, a line each."""
        lines = super().remarks()
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
        with self._opened(path) as file:
            is_packed = path.lower().endswith(".gz") and file.peek(2).startswith(b"\x1f\x8b")
            with contextlib.suppress(EOFError, gzip.BadGzipFile, zlib.error):  # Said when it is read.
                content = gzip.GzipFile(fileobj=file) if is_packed else file
                head = content.read(HEAD_BYTES)
                begin = head.removeprefix(codecs.BOM_UTF8).lstrip()
                if begin.startswith(b"{") and b"\n" not in begin:  # A record may be longer.
                    head += content.readline(HEAD_RECORD)
                return head, not content.read(1)
        return b"", True

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
            raise no_text(path, counts)

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
            raise no_text(path, counts)

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
            raise no_text(path, counts, first_skipped)


def open_source(rest: str, reading: Reading) -> TextFiles:
    """Return the files that globs name, several with commas between; see `TextFiles`."""
    how = {"text_field": reading.text_field, "on_bad_text": reading.on_bad_text}
    return TextFiles(rest, **how, document_separator=reading.document_separator)
