"""What a corpus is: documents in a fixed order, each a stream of text pieces."""

import abc
import dataclasses
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from lm_keras.conversations.messages import Message
from lm_keras.errors import InputError, shown

PIECE_BYTES = 2**20  # aimed-at size of a piece
LONGEST_LINE = 2**22  # bytes of a line that come in one piece


class Word(NamedTuple):
    """A word of a tagged text.

    Attributes:
        text: the word.
        tag: its tag as the source has it, or None.
        source: where it is from, for people: `train.conll:17`.
    """

    text: str
    tag: str | None
    source: str


class Pair(NamedTuple):
    """A source and what it becomes: a translation, a summary, an answer.

    Attributes:
        source: the text that is read.
        targets: texts that it may become. The first one is learnt; all of them are references. None in data
            whose targets are not known.
        language: the language of the target as the source of text has it, or None.
    """

    source: str
    targets: tuple[str, ...] = ()
    language: str | None = None


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, read again on every call of `pieces`, so that it need not fit in memory.

    Attributes:
        source: where the text is from, for people: `data/a.txt`, `b.jsonl:17`.
        read: returns a fresh iterator over the pieces; use `pieces` instead.
        label: the class of the text, or None.
        words: the words of a text that is divided into words, with their tags; None for any other text.
        pair: the source and its targets where the document is a pair; None for any other text.
        messages: those of a conversation; None for any other text.
        corpus: which of several corpora it is from, from 0 on.
    """

    source: str
    read: Callable[[], Iterator[str]] = dataclasses.field(repr=False, compare=False)
    label: str | None = dataclasses.field(default=None, repr=False, compare=False)
    words: tuple[Word, ...] | None = dataclasses.field(default=None, repr=False, compare=False)
    pair: Pair | None = dataclasses.field(default=None, repr=False, compare=False)
    messages: tuple[Message, ...] | None = dataclasses.field(default=None, repr=False, compare=False)
    corpus: int = dataclasses.field(default=0, repr=False, compare=False)

    @classmethod
    def from_text(cls, source: str, text: str, label: str | None = None) -> "Document":
        """Make a document of a string in memory."""
        return cls(source, lambda: cut_text(text), label)

    @classmethod
    def from_words(cls, source: str, words: Iterable[Word]) -> "Document":
        """Make a document of words; its text is the words with a space between two."""
        words = tuple(words)
        return cls(source, lambda: cut_text(" ".join(word.text for word in words)), words=words)

    @classmethod
    def from_pair(cls, source: str, pair: Pair) -> "Document":
        """Make a document of a pair; its text is the source and the first target, a line each or more."""
        sides = (pair.source, *pair.targets[:1])
        return cls(source, lambda: (f"{side}\n" for side in sides), pair=pair)

    @classmethod
    def from_messages(cls, source: str, messages: tuple[Message, ...]) -> "Document":
        """Make a document of a conversation; its text is for each message the role and the content, a line
        each or more.
        """
        return cls(source, lambda: (f"{role}\n{content}\n" for role, content in messages), messages=messages)

    @property
    def is_annotated(self) -> bool:
        """Tell whether there is a label beside the text, or the text has words, two sides or messages."""
        return any(part is not None for part in (self.label, self.words, self.pair, self.messages))

    def annotation(self) -> bytes:
        """Return the label, the words with their tags, or what of a pair or of messages its text does not
        tell, as bytes; empty for a text alone.

        It belongs to the fingerprint of a corpus.
        """
        if not self.is_annotated:
            return b""
        if self.pair is not None:
            return json.dumps([len(self.pair.source), self.pair.targets[1:], self.pair.language]).encode()
        if self.messages is not None:
            return json.dumps([len(message.content) for message in self.messages]).encode()
        words = None if self.words is None else [(word.text, word.tag) for word in self.words]
        return json.dumps([self.label, words]).encode()

    def pieces(self) -> Iterator[str]:
        """Yield the text in non-empty pieces of about 1 MiB, cut after line feeds.

        A longer line is one piece, up to 4 MiB in a file. Beyond that it is cut where `within_line` says, so
        that a file without line feeds needs no more memory than any other.
        """
        return self.read()


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a source of text is to be read.

    Attributes:
        text_field: name of the field that holds the text, or the words, in JSON lines, of the feature in a
            data set, or name or number of the column in a table.
        on_bad_text: what to do with bad UTF-8 and NUL: `error`, `replace` or `skip`, which also leaves out
            records that cannot be read.
        part: `train`, `valid` or `test`: what the text is for.
        say: called with a line before longer work.
        document_separator: text between the documents of a plain file, or None.
        fields: what a record must have: `text`; `text` and `label`; `words`; `words` and `tags`; `source` and
            `target`; `source`; or `messages`. Nothing else of a record is read.
        label_field: name or number of the field with the label, or with the tags; None for the usual one.
        header: whether the first row of a table names its columns: `auto`, `yes` or `no`.
        source_field, target_field: name or number of the field with the source, and with the target; None
            for the usual ones.
        language_field: name or number of the field with the language of the target; None for no such field.
        language: the language of all targets; None where a field has it, or nothing does.
    """

    text_field: str
    on_bad_text: str
    part: str
    say: Callable[[str], None]
    document_separator: str | None = None
    fields: tuple[str, ...] = ("text",)
    label_field: str | None = None
    header: str = "auto"
    source_field: str | None = None
    target_field: str | None = None
    language_field: str | None = None
    language: str | None = None


class Corpus(abc.ABC):
    """A source of documents.

    Attributes:
        spec: what names this corpus on the command line, such as `text:data/*.txt`.
        licence: the licence of the text where it is known, else None.
        citation: how its makers want to be cited where that is known, usually BibTeX, else None.
    """

    spec: str
    licence: str | None = None
    citation: str | None = None

    @abc.abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yield every document, in the same order on every call."""

    def held_out(self) -> dict[str, "Corpus"]:
        """Return the corpora to validate and test on that come with this one, as `valid` and `test`."""
        return {}

    def report(self) -> dict[str, int]:
        """Return how many bad or empty pieces were replaced or skipped while reading; no entry means none."""
        return {}

    def remarks(self) -> list[str]:
        """Return what looks wrong in what was read so far and is read all the same, a line each."""
        return []


def cut_text(text: str, size: int = PIECE_BYTES) -> Iterator[str]:
    r"""Cut a string after line feeds into pieces of at most `size` characters, where its lines allow.

    Example:
        >>> list(cut_text("ab\ncd\nefghij\nk", size=6))
        ['ab\ncd\n', 'efghij\n', 'k']
    """
    start = 0
    while start < len(text):
        end = len(text)
        if end - start > size:
            end = text.rfind("\n", start, start + size) + 1
            if not end:  # the line alone is longer than a piece
                end = text.find("\n", start + size) + 1 or len(text)
        yield text[start:end]
        start = end


def cut_blocks(blocks: Iterable[bytes], longest: int, too_long: Callable[[bytes], int]) -> Iterator[bytes]:
    r"""Rearrange blocks of bytes so that each ends with a line feed, except the last and those of long lines.

    Args:
        blocks: the content of a file in turn.
        longest: bytes after which the end of a line is no longer waited for.
        too_long: called with the beginning of a line of more than `longest` bytes; says where to cut it.

    Example:
        >>> list(cut_blocks([b"ab\ncd", b"ef", b"g\nh\ni"], 9, within_line))
        [b'ab\n', b'cdefg\nh\n', b'i']
        >>> list(cut_blocks([b"ab cd", b" ef", b"gh\n"], 6, within_line))
        [b'ab cd', b' efgh\n']
    """
    waiting: list[bytes] = []
    size = 0
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*waiting, block[:end]])
            waiting, size = [], 0
        waiting.append(block[end:])
        size += len(block) - end
        if size > longest:
            line = b"".join(waiting)
            end = too_long(line)
            yield line[:end]
            waiting, size = [line[end:]], len(line) - end
    rest = b"".join(waiting)
    if rest:
        yield rest


def within_line(line: bytes) -> int:
    r"""Return where a line may be cut so that both parts mean what they meant together.

    That is before its last space, so that no word is cut; if it has none, before the last character that
    never joins the one before it, under any Unicode normalization.

    Example:
        >>> within_line(b"to be or"), within_line("to\u0301".encode())
        (5, 1)
    """
    end = line.rfind(b" ")
    if end > 0:
        return end
    for end in range(len(line) - 1, 0, -1):
        character = line[end : end + 4].decode("utf-8", "ignore")[:1]
        if line[end] & 0xC0 != 0x80 and character and _stands_alone(character):
            return end
    return len(line)


def _stands_alone(character: str) -> bool:
    # What composes with a character before it is a mark, or a vowel or final consonant of Hangul.
    first = unicodedata.normalize("NFKD", character)[0]
    return not unicodedata.category(first).startswith("M") and not "\u1160" <= first <= "\u11ff"


def changed(what: str) -> InputError:
    """Return the error for text that is not what it was a moment ago."""
    return InputError(
        f"{shown(what)} has changed while it was read: expected the same text; start again when nobody writes"
        " to it"
    )
