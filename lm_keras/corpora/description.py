"""One pass over a corpus: its numbers, and what dividing it needs."""

import array
import dataclasses
import hashlib

import numpy as np

from lm_keras.corpora.documents import Corpus
from lm_keras.corpora.passages import Passages
from lm_keras.errors import InputError

CUT_BELOW = 20  # fewer documents are each cut; this many are dealt out whole
MAX_LINE_STARTS = 2**20  # kept for each document that may be cut


@dataclasses.dataclass(frozen=True)
class CorpusDescription:
    """A corpus in numbers.

    Attributes:
        spec: what names the corpus.
        licence: its licence where known, else None.
        citation: how to cite it where known, else None.
        documents: number of documents.
        bytes: size of the text in UTF-8.
        characters: number of Unicode scalar values.
        sha256: over the sha256 of each document in turn, so the boundaries between documents count; and over
            that of its label or of its words and tags, where it has any.
    """

    spec: str
    licence: str | None
    citation: str | None
    documents: int
    bytes: int
    characters: int
    sha256: str


class LineStarts:
    r"""The byte offsets at which lines start, thinned to a bounded number of them.

    Example:
        >>> starts = LineStarts()
        >>> starts.add(b"ab\nc\n")
        >>> starts.add(b"d\n")
        >>> starts.first_from(1.5, 7), starts.first_from(3, 7), starts.first_from(5.1, 7)
        (3, 3, 7)
    """

    def __init__(self):
        self._kept: list[np.ndarray] = []
        self._num_kept = self._num_seen = self._offset = 0
        self._stride = 1

    def add(self, piece: bytes) -> None:
        """Take the next piece of the document."""
        starts = np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")) + (1 + self._offset)
        kept = starts[-self._num_seen % self._stride :: self._stride]
        self._num_seen += len(starts)
        self._offset += len(piece)
        self._kept.append(kept)
        self._num_kept += len(kept)
        while self._num_kept > MAX_LINE_STARTS:  # keep every second
            self._kept = [np.concatenate(self._kept)[::2]]
            self._num_kept = len(self._kept[0])
            self._stride *= 2

    def any_before(self, size: int) -> bool:
        """Say whether a line starts inside a document of that size."""
        return self.first_from(1, size) < size

    def first_from(self, boundary: float, size: int) -> int:
        """Return the first kept start at or after a boundary, or `size` if there is none before the end."""
        starts = np.concatenate([*self._kept, [size]])
        return min(int(starts[np.searchsorted(starts, boundary)]), size) if boundary <= size else size


@dataclasses.dataclass(frozen=True)
class Scan:
    """What one pass learns of a corpus: per document a 64-bit content hash, size and line starts; and
    passages.
    """

    description: CorpusDescription
    hashes: np.ndarray  # uint64 [documents]
    sizes: np.ndarray  # int64 [documents], in bytes
    line_starts: list[LineStarts]  # of the first documents, as many as may be cut
    passages: Passages
    is_annotated: bool = False  # whether documents have labels, words or two sides
    groups: np.ndarray | None = None  # uint64 [documents], equal for pairs that share a side; None without


def groups_of(hashes: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return a number for each pair that is equal for pairs which share a source or a target, directly or by
    way of others.

    Args:
        hashes, sources, targets: of the pairs and of their sides, uint64 [n].

    Returns:
        The smallest hash of the pairs of the group, uint64 [n].

    Example:
        >>> columns = [9, 8, 7, 6], [1, 1, 2, 3], [4, 5, 5, 6]
        >>> groups_of(*(np.array(column, np.uint64) for column in columns)).tolist()
        [7, 7, 7, 6]
    """
    groups, places = hashes, [np.unique(side, return_inverse=True)[1] for side in (sources, targets)]
    while True:
        before = groups
        for place in places:
            smallest = np.full(len(hashes), np.uint64(2**64 - 1))
            np.minimum.at(smallest, place, groups)
            groups = smallest[place]
        if np.array_equal(groups, before):
            return groups


def scan_corpus(corpus: Corpus) -> Scan:
    """Read a corpus once; see `describe`."""
    total = hashlib.sha256()
    hashes, sizes = array.array("Q"), array.array("q")
    sides = array.array("Q"), array.array("Q")
    line_starts, passages = [], Passages()
    characters, is_annotated = 0, False
    for document in corpus.documents():
        digest = hashlib.sha256()
        starts = LineStarts() if len(sizes) < CUT_BELOW else None
        size = 0
        for piece in document.pieces():
            content = piece.encode("utf-8")
            digest.update(content)
            passages.add(len(sizes), size, content)
            size += len(content)
            characters += len(piece)
            if starts is not None:
                starts.add(content)
        total.update(digest.digest())
        if annotation := document.annotation():
            total.update(hashlib.sha256(annotation).digest())
            is_annotated = True
        if document.pair is not None:
            for column, side in zip(sides, (document.pair.source, *document.pair.targets[:1])):
                column.append(_hash(hashlib.sha256(side.encode())))
        hashes.append(_hash(digest))
        sizes.append(size)
        if starts is not None:
            line_starts.append(starts)
    if not sum(sizes):
        raise InputError(f"the corpus {corpus.spec} has no text: expected at least one document")
    description = CorpusDescription(
        corpus.spec, corpus.licence, corpus.citation, len(sizes), sum(sizes), characters, total.hexdigest()
    )
    hashes, sizes = np.array(hashes, np.uint64), np.array(sizes, np.int64)
    sources, targets = (np.array(column, np.uint64) for column in sides)
    groups = groups_of(hashes, sources, targets) if len(targets) == len(hashes) else None
    return Scan(description, hashes, sizes, line_starts, passages, is_annotated, groups)


def _hash(digest) -> int:
    return int.from_bytes(digest.digest()[:8], "big")


def describe(corpus: Corpus) -> CorpusDescription:
    """Read a corpus once and return its numbers.

    Raises:
        InputError: the corpus cannot be read, or has no text.
    """
    return scan_corpus(corpus).description
