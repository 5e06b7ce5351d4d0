"""Files of records with named fields: what tables, JSON lines and CoNLL files share."""

import abc
from collections.abc import Iterator

from lm_keras.corpora.decoding import NOT_TEXT, Counts, TextDecoder, clean_string
from lm_keras.corpora.documents import Document, Reading, cut_blocks
from lm_keras.corpora.file_corpus import FileCorpus, no_text
from lm_keras.corpora.pairs import REMEDY
from lm_keras.corpora.recognition import HEAD_BYTES, refuse_binary
from lm_keras.corpora.remarks import OLD_MAC
from lm_keras.errors import InputError, shown

LONGEST_RECORD = 2**24
"""Bytes of a line, and of a field over several lines, that are read. Nobody classifies longer texts."""

MARK = "\ufeff"
"""A byte order mark; one before a later line is left over from another file that was put behind the first."""


class RecordFiles(FileCorpus):
    """Documents that are records of files, in the order of the files and lines.

    A record that cannot be read is an error that names file and line; `on_bad_text="skip"` counts it and
    leaves it out. A record without a text is an error, too, where it has a label, and else counted and left
    out.

    Args:
        scheme: the part before the colon.
        globs: paths or globs, separated by commas.
        reading: how the files are read.
    """

    def __init__(self, scheme: str, globs: str, reading: Reading):
        super().__init__(scheme, globs, reading.on_bad_text)
        self.reading = reading

    @abc.abstractmethod
    def _records(
        self, path: str, lines: Iterator[tuple[int, str]], counts: Counts
    ) -> Iterator[Document | InputError | None]:
        """Yield the records of a file.

        Args:
            path: the file.
            lines: number, from 1 on, and text of each line, without its end.
            counts: of what was changed in records or left out.

        Yields:
            A document; or what is wrong with a record; or None for one that is counted already.
        """

    def documents(self) -> Iterator[Document]:
        """Yield a document a record.

        Raises:
            InputError: a file or a record of it cannot be read.
        """
        for path in self.files:
            counts, found, first_skipped = Counts(), 0, None
            for record in self._records(path, self._lines(path, counts), counts):
                if isinstance(record, InputError):
                    if self.on_bad_text != "skip":
                        raise record
                    first_skipped = first_skipped or str(record)
                    counts.skipped_documents += 1
                elif record is not None:
                    found += 1
                    yield record
            self._counts[path] = counts
            if not found:
                raise no_text(path, counts, first_skipped)

    def _lines(self, path: str, counts: Counts) -> Iterator[tuple[int, str]]:
        """Yield number and text of each line, without its end; where bad text is skipped, what cannot be
        decoded is a lone surrogate, so that its record is known.
        """
        skips = self.on_bad_text == "skip"
        seen = Counts() if skips else counts
        decoder = TextDecoder(path, self.on_bad_text, seen)
        number = 0

        def too_long(line: bytes) -> int:
            raise InputError(
                f"{shown(path)}: more than {LONGEST_RECORD:,} bytes without a line feed after line"
                f" {number:,}: expected a record a line; cut the texts"
            )

        for block in cut_blocks(self._blocks(path), LONGEST_RECORD, too_long):
            if not number:
                refuse_binary(path, block[:HEAD_BYTES], lambda: self._tail(path))
            skipped = seen.skipped_lines
            text = decoder.decode(block)
            if skips and seen.skipped_lines > skipped:
                text = block.decode("utf-8", "surrogateescape")
            for line in text.removesuffix("\n").split("\n"):
                number += 1
                line = line.removesuffix("\r").removeprefix(MARK)
                if number == 1 and "\r" in line:
                    self._remark(OLD_MAC, path)
                yield number, line
        if decoder.advice:
            self._remark(f"{{}}: {decoder.advice}", path)

    def _remark(self, remark: str, path: str) -> None:
        """Take a remark on a file, in which {} stands for its name, when the file is read the first time."""
        if path not in self._counts:
            self._remarks.add(remark, path)

    def _document(
        self, place: str, text: str, label: str | None, counts: Counts
    ) -> Document | InputError | None:
        """Return the document of a text and its label, if the text is one."""
        if NOT_TEXT.search(text) or (label and NOT_TEXT.search(label)):
            text, label = self._cleaned(place, [text, label or ""], counts) or (None, None)
            if text is None:
                return None
        if not text or text.isspace():
            if "label" in self.reading.fields:
                return InputError(f"{place}: the text is empty; {REMEDY}")
            counts.empty_documents += 1
            return None
        return Document.from_text(place, text, label)

    def _cleaned(self, place: str, strings: list[str], counts: Counts) -> list[str] | None:
        """Return strings without NUL and lone surrogates, or None if their record is left out."""
        cleaned = []
        for string in strings:
            string = clean_string(string, place, self.on_bad_text, counts)
            if string is None:
                return None
            cleaned.append(string)
        return cleaned
