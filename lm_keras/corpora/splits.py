"""Train, valid and test: three disjoint streams of documents."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator

import numpy as np

from lm_keras.corpora.dealing import dealt, dealt_by_hash
from lm_keras.corpora.description import CUT_BELOW, CorpusDescription, Scan, scan_corpus
from lm_keras.corpora.documents import Corpus, Document, changed, within_line
from lm_keras.corpora.overlap import also_learnt, shares_in_train
from lm_keras.errors import InputError

NAMES = ("train", "valid", "test")

BY_HASH = "documents by a hash of their content"
ONCE_BY_HASH = "documents that occur once by a hash of their content, all others to train"
"""How documents are dealt out, where none occurs more than once and where some do. Earlier versions dealt out
repeated documents `BY_HASH`, too, and a run that was begun so goes on so.
"""

BY_GROUP = "pairs that share no side with others by a hash of their content, all others to train"
"""How pairs are dealt out: a source or target that is held out is none of the training text."""

SPACE_WITHIN_BYTES = 2**16  # a line is cut at a space that is so near, else between characters


class EmptySplit(InputError):
    """A text is too small, or too uniform, to hold any of it out."""


@dataclasses.dataclass(frozen=True)
class Split:
    """One part of a corpus.

    Attributes:
        name: `train`, `valid` or `test`.
        description: the corpus it was taken from, whole.
        rule: how it was taken, in words; the same words mean the same part of the same corpus.
        num_documents: number of documents (or parts of documents) in the split.
        num_bytes: size of their text in UTF-8.
        in_train: share of its bytes that are in passages of the training text, too (see `passages.py`);
            None for train itself, and where there are no passages.
        holds: tells which passages of the corpus, by document and offset in it, belong to the split.
    """

    name: str
    description: CorpusDescription
    rule: str
    num_documents: int
    num_bytes: int
    read: Callable[[], Iterator[Document]] = dataclasses.field(repr=False, compare=False)
    in_train: float | None = None
    holds: Callable[[np.ndarray, np.ndarray], np.ndarray] = dataclasses.field(
        default=lambda numbers, offsets: np.ones(len(numbers), bool), repr=False, compare=False
    )

    def documents(self) -> Iterator[Document]:
        """Yield the documents of the split, in the order of the corpus; may be called again.

        Raises:
            InputError: the text has changed since it was described.
        """
        return self.read()

    def fingerprint(self) -> str:
        """Return a sha256 over what decides the content: the corpus's sha256, the rule and the name."""
        return hashlib.sha256(f"{self.description.sha256}\n{self.rule}\n{self.name}".encode()).hexdigest()


def make_splits(
    corpus: Corpus,
    valid: Corpus | None = None,
    test: Corpus | None = None,
    fractions: tuple[float, float, float] = (90, 5, 5),
    earlier_rule: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Split]:
    """Split a corpus into train, valid and test.

    Pairs are dealt out as below, but pairs that share a source or a target count as equal ones.

    Without `valid`, 20 documents or more are dealt out by a hash of their content: the valid share has the
    highest hashes but for the test share's, so shares are right by count. Documents that occur more than once
    go to train. If too few others are left, those that occur twice are dealt out, too, and so on; equal ones
    stay together. Fewer documents are each cut at line ends, unless they have labels or tags: a line belongs
    to train if it starts in the first 90 % of the document's bytes, to valid in the next 5 %, else to test.
    (In a document of more than 2^20 lines the cut may come a few lines later.) A document of a single line,
    as text8 is, is cut before the last space of the first 90 % and 95 %, or before a character where no space
    is near. With `valid`, the whole corpus is train. A given `test` is the test split, and its share of the
    corpus goes to train.

    Passes: each corpus is read once here, for its description and whatever the division needs, and once
    more where a single line has to be cut. Each
    `Split.documents()` is one more pass, which opens only the files it needs (JSON lines are all read).

    Args:
        corpus: the corpus to train on.
        valid: a corpus to validate on, whole.
        test: a corpus to test on, whole.
        fractions: per cent of `corpus` for train, valid and test; 0 leaves a split out. Without effect
            if `valid` is given.
        earlier_rule: the rule of the train split with which a run was begun that goes on.
        say: called with a line where a given corpus is in the training text, too.

    Returns:
        The splits that exist, by name, in the order train, valid, test.

    Raises:
        InputError: the fractions do not divide 100, or a corpus cannot be read.
        EmptySplit: a split comes out empty.

    Example:
        >>> splits = make_splits(open_corpus("python-docs", text_field="text", on_bad_text="error"))
        >>> {name: split.num_documents for name, split in splits.items()}
        {'train': 6698, 'valid': 372, 'test': 372}
    """
    train_share, valid_share, test_share = _checked(fractions)
    if test is not None:
        train_share, test_share = train_share + test_share, 0
    if valid is not None:
        train_share, valid_share, test_share = 100, 0, 0
    shares = (train_share, valid_share, test_share)
    scan = scan_corpus(corpus)
    if train_share == 100:
        splits = {"train": _whole("train", corpus, scan)}
    elif scan.description.documents >= CUT_BELOW or scan.is_annotated:
        splits = _dealt(corpus, scan, shares, earlier_rule)
    else:
        splits = _cut(corpus, scan, shares)
    given = {name: other for name, other in (("valid", valid), ("test", test)) if other is not None}
    scans = {name: scan_corpus(other) for name, other in given.items()}
    splits |= {name: _whole(name, other, scans[name]) for name, other in given.items()}
    splits = {name: splits[name] for name in NAMES if name in splits}
    if len(splits) > 1:
        shared = shares_in_train(scan, splits, scans)
        splits = {
            name: dataclasses.replace(split, in_train=shared.get(name)) for name, split in splits.items()
        }
    for name, other in given.items():
        if line := also_learnt(name, other, scans[name], scan, splits):
            say(line)
    return splits


def _checked(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    good = (
        len(fractions) == 3 and fractions[0] > 0 and min(fractions) >= 0 and abs(sum(fractions) - 100) < 1e-9
    )
    if not good:
        raise InputError(
            f"the split fractions are {', '.join(map(str, fractions))}: expected three numbers (train, valid,"
            " test) that sum to 100, train above 0, the others 0 or more"
        )
    return tuple(fractions)


def _whole(name: str, corpus: Corpus, scan: Scan) -> Split:
    every = np.zeros(len(scan.sizes), np.uint8)
    return _chosen(name, "the whole corpus", corpus, scan, every, 0)


def _dealt(
    corpus: Corpus, scan: Scan, shares: tuple[float, float, float], earlier_rule: str | None
) -> dict[str, Split]:
    count = len(scan.hashes)
    num_valid, num_test = (max(1, round(count * share / 100)) if share else 0 for share in shares[1:])
    per_cent = f"{shares[0]:g}/{shares[1]:g}/{shares[2]:g} per cent"
    rule, owner = f"{BY_HASH}, {per_cent}", None
    if scan.groups is not None:
        rule, owner = f"{BY_GROUP}, {per_cent}", dealt(scan.groups, num_valid, num_test)
    elif earlier_rule == rule:
        owner = dealt_by_hash(scan.hashes, num_valid, num_test)
    elif len(np.unique(scan.hashes)) < count:
        rule = f"{ONCE_BY_HASH}, {per_cent}"
    if owner is None:
        owner = dealt(scan.hashes, num_valid, num_test)
    splits = {}
    for index, (name, share) in enumerate(zip(NAMES, shares)):
        if share:
            if not (owner == index).any():
                raise EmptySplit(
                    f"no document of {corpus.spec} is left for the {name} split, because equal documents stay"
                    " together: expected more different documents; add some, or pass --valid_corpus"
                )
            splits[name] = _chosen(name, rule, corpus, scan, owner, index)
    return splits


def _chosen(name: str, rule: str, corpus: Corpus, scan: Scan, owner: np.ndarray, index: int) -> Split:
    """Return the split of the documents whose owner is `index`."""

    def read() -> Iterator[Document]:
        number = -1
        for number, document in enumerate(corpus.documents()):
            if number >= len(owner):
                raise changed(corpus.spec)
            if owner[number] == index:
                yield document
        if number + 1 != len(owner):
            raise changed(corpus.spec)

    mine = owner == index
    num_bytes = int(scan.sizes[mine].sum())
    return Split(
        name, scan.description, rule, int(mine.sum()), num_bytes, read, holds=lambda numbers, _: mine[numbers]
    )


def _cut(corpus: Corpus, scan: Scan, shares: tuple[float, float, float]) -> dict[str, Split]:
    ranges = []  # per document: where train starts, where valid starts, where test starts, the end
    single_lines = {}  # number of the document: where valid and test should start
    for number, (size, starts) in enumerate(zip(scan.sizes.tolist(), scan.line_starts)):
        ends = [size * shares[0] / 100, size * (shares[0] + shares[1]) / 100 if shares[2] else size]
        if not starts.any_before(size):
            single_lines[number] = [int(end) for end in ends]
        ranges.append((0, *(starts.first_from(end, size) for end in ends), size))
    for number, starts in _within_lines(corpus, single_lines).items():
        ranges[number] = (0, *starts, ranges[number][-1])
    where = "at line ends, or within its single line" if single_lines else "at line ends"
    rule = f"each document cut {where}, {shares[0]:g}/{shares[1]:g}/{shares[2]:g} per cent"
    splits = {}
    for index, (name, share) in enumerate(zip(NAMES, shares)):
        if not share:
            continue
        mine = [(cuts[index], cuts[index + 1]) for cuts in ranges]
        num_bytes = sum(end - start for start, end in mine)
        if not num_bytes:
            raise EmptySplit(
                f"the {name} split of {corpus.spec} comes out empty: expected enough lines, or words of a"
                f" single line, to cut {scan.description.bytes} bytes there; use more text, or pass"
                " --valid_corpus"
            )
        num_documents = sum(end > start for start, end in mine)
        read, holds = _reader(corpus, mine), _within(mine)
        splits[name] = Split(name, scan.description, rule, num_documents, num_bytes, read, holds=holds)
    return splits


def _within(ranges: list[tuple[int, int]]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    starts, ends = np.array(ranges, np.int64).T
    return lambda numbers, offsets: (starts[numbers] <= offsets) & (offsets < ends[numbers])


def _within_lines(corpus: Corpus, wanted: dict[int, list[int]]) -> dict[int, list[int]]:
    """Return for some documents, by number, the offsets nearest before the wanted ones at which a line may be
    cut.
    """
    if not wanted:
        return {}
    found = {}
    for number, document in enumerate(corpus.documents()):
        if number not in wanted:
            continue
        found[number], offset = list(wanted[number]), 0
        for piece in document.pieces():
            content = piece.encode("utf-8")
            for index, end in enumerate(wanted[number]):
                if 0 < end - offset < len(content):
                    found[number][index] = offset + _cut_before(content, end - offset)
            offset += len(content)
    if found.keys() != wanted.keys():
        raise changed(corpus.spec)
    return found


def _cut_before(line: bytes, end: int) -> int:
    """Return the last place up to `end` at which a line may be cut."""
    while line[end] & 0xC0 == 0x80:  # within a character
        end -= 1
    start = max(0, end - SPACE_WITHIN_BYTES)
    return start + within_line(line[start:end]) if end else 0


def _reader(corpus: Corpus, ranges: list[tuple[int, int]]) -> Callable[[], Iterator[Document]]:
    def read() -> Iterator[Document]:
        number = -1
        for number, document in enumerate(corpus.documents()):
            if number >= len(ranges):
                raise changed(corpus.spec)
            start, end = ranges[number]
            if end > start:
                yield _part(document, start, end)
        if number + 1 != len(ranges):
            raise changed(corpus.spec)

    return read


def _part(document: Document, start: int, end: int) -> Document:
    """Return the bytes from `start` to `end` of a document; both are places where it may be cut,
    or its end.
    """

    def read() -> Iterator[str]:
        offset = 0
        for piece in document.pieces():
            content = piece.encode("utf-8")
            first, last = max(start - offset, 0), min(end - offset, len(content))
            if first < last:
                yield content[first:last].decode("utf-8")
            offset += len(content)  # Read on to the end, where a change of the file is noticed.
        if offset < end:
            raise changed(document.source)

    return Document(f"{document.source} (bytes {start} to {end})", read, corpus=document.corpus)
