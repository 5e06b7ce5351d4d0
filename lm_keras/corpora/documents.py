"""What a corpus is: documents in a fixed order, each a stream of text pieces."""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Iterator

PIECE_BYTES = 2**20  # aimed-at size of a piece


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, read anew on every call of `pieces`, so that it need not fit in memory.

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
        """Yield the text in non-empty pieces of about 1 MiB, cut only after line feeds.

        A line longer than that is one piece, so a text without line feeds comes whole.
        """
        return self.read()


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


def cut_blocks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Rearrange blocks of bytes so that each ends with a line feed, except perhaps the last.

    Example:
        >>> list(cut_blocks([b"ab\ncd", b"ef", b"g\nh\ni"]))
        [b'ab\n', b'cdefg\nh\n', b'i']
    """
    waiting: list[bytes] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if not end:
            waiting.append(block)
            continue
        waiting.append(block[:end])
        yield b"".join(waiting)
        waiting = [block[end:]]
    rest = b"".join(waiting)
    if rest:
        yield rest
