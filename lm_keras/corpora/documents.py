"""What a corpus is: documents in a fixed order, each a stream of text pieces."""

import abc
import dataclasses
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from lm_keras.errors import InputError, shown

PIECE_BYTES = 2**20  # aimed-at size of a piece
LONGEST_LINE = 2**22  # bytes of a line that come in one piece


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, read again on every call of `pieces`, so that it need not fit in memory.

    Attributes:
        source: where the text is from, for people: `data/a.txt`, `b.jsonl:17`.
        read: returns a fresh iterator over the pieces; use `pieces` instead.
    """

    source: str
    read: Callable[[], Iterator[str]] = dataclasses.field(repr=False, compare=False)

    @classmethod
    def from_text(cls, source: str, text: str) -> "Document":
        """Make a document of a string in memory."""
        return cls(source, lambda: cut_text(text))

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
        text_field: name of the field that holds the text in JSON lines, or of the feature in a data set.
        on_bad_text: what to do with bad UTF-8 and NUL: `error`, `replace` or `skip`.
        part: `train`, `valid` or `test`: what the text is for.
        say: called with a line before longer work.
        document_separator: text between the documents of a plain file, or None.
    """

    text_field: str
    on_bad_text: str
    part: str
    say: Callable[[str], None]
    document_separator: str | None


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
