"""The corpus `conll:GLOB`: a word a line with its tag, and an empty line behind each sentence."""

import re
from collections.abc import Iterator

from lm_keras.corpora.decoding import NOT_TEXT, Counts
from lm_keras.corpora.documents import Document, Reading, Word
from lm_keras.corpora.record_files import REMEDY, RecordFiles
from lm_keras.errors import InputError, shown

DOCSTART = "-DOCSTART-"
"""First column of a line that begins a new document, not a word."""

COMMENT = "# "

UNIVERSAL_COLUMNS = 10
"""Columns of the CoNLL-U format."""

_SPACES = re.compile("[ \t]+")
_TAG = re.compile(r"O|[BIMELSU]-.+")
_NO_WORD = re.compile(r"\d+[-.]\d+")
"""Number of a line of CoNLL-U that is not a word: of several words written as one, or of one left out."""


class Lines:
    """Tells what the lines of one CoNLL file are, in their order.

    Attributes:
        tabs: whether a tab is between columns; None before the first word.
        width: number of columns of the first word; None before it.
    """

    def __init__(self):
        self.tabs: bool | None = None
        self.width: int | None = None

    def columns(self, line: str) -> list[str] | None:
        """Return the columns of a word; an empty list for a line that ends a sentence, and None for one that
        belongs to no word and ends nothing.
        """
        line = line.rstrip(" \t")
        if not line or line.isspace():
            return []
        columns = self._divided(line)
        if self._is_comment(line, columns):
            return None
        if columns[0] == DOCSTART:
            return []
        if self.width is None:
            self.tabs, self.width = "\t" in line, len(columns)
        return None if self.width == UNIVERSAL_COLUMNS and _NO_WORD.fullmatch(columns[0]) else columns

    def _divided(self, line: str) -> list[str]:
        if self.tabs or (self.tabs is None and "\t" in line):
            return [column.strip(" ") for column in line.split("\t")]
        return _SPACES.split(line.lstrip(" \t"))

    def _is_comment(self, line: str, columns: list[str]) -> bool:
        if not line.startswith(COMMENT):
            return False
        return len(columns) != self.width or not _TAG.fullmatch(columns[-1])


def column_of(text_field: str) -> int | None:
    """Return the column of the word that `--text_field` names, from 0 on; None where it names none.

    Raises:
        InputError: it is not a number.
    """
    return None if text_field == "text" else _number(text_field, "text")


def check_no_numbers(place: str, columns: list[str], word: int | None) -> None:
    """Raise InputError if the first column of a word would be its number, as in CoNLL-U."""
    if len(columns) == UNIVERSAL_COLUMNS and columns[0] == "1" and word is None:
        raise InputError(
            f"{place}: the first of {len(columns)} columns is a number, as in CoNLL-U; name the columns of"
            " the word and of the tag, --text_field=2 --label_field=4 for universal parts of speech"
        )


class ConllFiles(RecordFiles):
    """Sentences of tagged words.

    A line has the columns of a word, with a tab between them, or with spaces where the first line of a word
    has no tab. The first column is the word and the last one the tag, unless the settings name others by
    number. A line of white space ends a sentence, and so does one of `-DOCSTART-`. Lines that begin with `# `
    are comments, but where such a line has the columns of a word and a tag behind: there `#` is the word.

    Args:
        globs: paths or globs, separated by commas.
        reading: how they are read.
    """

    def __init__(self, globs: str, reading: Reading):
        super().__init__("conll", globs, reading)
        self._word = column_of(reading.text_field)
        self._tag = None if reading.label_field is None else _number(reading.label_field, "label")

    def _records(
        self, path: str, lines: Iterator[tuple[int, str]], counts: Counts
    ) -> Iterator[Document | InputError | None]:
        words: list[Word] = []
        wrong: InputError | None = None  # with the first bad line of a sentence
        layout, is_checked = Lines(), False
        for number, line in lines:
            columns = layout.columns(line)
            if columns is None:
                self._tell_of_comment(path, line, layout)
                continue
            if not columns:
                yield from self._sentence(words, wrong, counts)
                words, wrong = [], None
                continue
            place = f"{shown(path)}:{number}"
            if not is_checked:
                self._check_width(place, columns)
                is_checked = True
            if len(columns) != layout.width:
                wrong = wrong or _of_another_width(place, columns, layout.width)
                words.append(Word(columns[0], None, place))
                continue
            word = columns[self._word or 0]
            if not word:
                wrong = wrong or InputError(f"{place}: the word is empty; {REMEDY}")
            tag = columns[self._tag if self._tag is not None else -1]
            words.append(Word(word, tag if "tags" in self.reading.fields else None, place))
        yield from self._sentence(words, wrong, counts)

    def _tell_of_comment(self, path: str, line: str, layout: Lines) -> None:
        """Tell of a comment that has as many columns as a word."""
        may_be = line.startswith(COMMENT) and layout.tabs is False
        if may_be and len(_SPACES.split(line.strip(" \t"))) == layout.width:
            self._remark(
                f"{{}}: lines such as '{shown(line.strip())}' are read as comments; put tabs between the"
                " columns if '#' is a word there",
                path,
            )

    def _check_width(self, place: str, columns: list[str]) -> None:
        """Raise InputError if the first word of a file has not the columns that are read."""
        width, needs_tags = len(columns), "tags" in self.reading.fields
        check_no_numbers(place, columns, self._word)
        if width == 1 and needs_tags:
            raise InputError(f"{place}: one column, {columns[0]!r}: expected a word and its tag")
        read = {"text": self._word, "label": self._tag if needs_tags else None}
        for name, column in read.items():
            if column is not None and column >= width:
                raise InputError(
                    f"{place}: no column {column + 1}: there are {width}; give another --{name}_field"
                )
        if needs_tags and (self._word or 0) == (width - 1 if self._tag is None else self._tag):
            raise InputError(
                f"{place}: word and tag are both in column {(self._word or 0) + 1}; give another"
                " --label_field"
            )

    def _sentence(
        self, words: list[Word], wrong: InputError | None, counts: Counts
    ) -> Iterator[Document | InputError | None]:
        if not words:
            return
        if wrong:
            yield wrong
            return
        if any(NOT_TEXT.search(word.text) or (word.tag and NOT_TEXT.search(word.tag)) for word in words):
            names = [name for word in words for name in (word.text, word.tag or "")]
            names = self._cleaned(words[0].source, names, counts)
            if names is None:
                yield None
                return
            words = [
                word._replace(text=text, tag=tag or None)
                for word, text, tag in zip(words, names[::2], names[1::2])
            ]
        if "words" in self.reading.fields:
            yield Document.from_words(words[0].source, words)
        else:
            yield Document.from_text(words[0].source, " ".join(word.text for word in words))


def open_source(rest: str, reading: Reading) -> ConllFiles:
    """Return the sentences in files that globs name, several with commas between; see `ConllFiles`."""
    return ConllFiles(rest, reading)


def _number(field: str, name: str) -> int:
    if not field.isdecimal() or not int(field):
        raise InputError(f"--{name}_field={field}: the columns of conll: have numbers, 1 for the first one")
    return int(field) - 1


def _of_another_width(place: str, columns: list[str], width: int) -> InputError:
    if len(columns) < width:
        return InputError(
            f"{place}: {len(columns)} column{'s' * (len(columns) != 1)}, and the first word has {width}:"
            f" the word {columns[0]!r} has no tag; {REMEDY}"
        )
    return InputError(f"{place}: {len(columns)} columns, and the first word has {width}; {REMEDY}")
