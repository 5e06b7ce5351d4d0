"""Labels and tags: their names, their numbers, and the columns of a store that hold them."""

import array
import collections
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from lm_keras.corpora import Document, Split
from lm_keras.corpora.documents import Word
from lm_keras.data import tags
from lm_keras.data.columns import Column
from lm_keras.data.examples import documents_at
from lm_keras.errors import InputError, nearest

NO_LABEL = -1
"""The label of a text that has none."""

NO_WORD, NO_TAG = -1, -2
"""In the column of tags: no word begins at this token; the word that begins here has no tag."""

SHOWN_NAMES = 10
"""Names that a message lists."""

MANY_NAMES = 20
"""With fewer examples nobody wonders that each has a label of its own."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """The classes of a task, of texts or of words.

    Attributes:
        names: sorted; the number of a label is its place among them.
        counts: how often each comes in the training text. 0 for the tag that continues a span of which the
            training text has the beginning only.
        spans: whether the names are tags of spans, in IOB2.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    spans: bool = False

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def id_of(self, name: str, source: str) -> int:
        """Return the number of a name.

        Raises:
            InputError: the training text has no such label; `source` is where it is.
        """
        number = self._numbers.get(name)
        if number is None:
            what = "tag" if self.spans else "label"
            raise InputError(
                f"{source}: the {what} {name!r} is not in the training text{nearest(name, self.names)}:"
                f" expected {_listed(self.names)}; correct it, or add such examples to --corpus"
            )
        return number

    def ids(self, names: Iterable[str]) -> np.ndarray:
        """Return the numbers of some names, [n] int32.

        Raises:
            InputError: the label is unknown.
        """
        return np.array([self.id_of(name, "the labels") for name in names], np.int32)

    def tag_ids(self, document: Document) -> np.ndarray:
        """Return the numbers of the tags of a document of words, [words] int32; `NO_TAG` where there is none.

        Raises:
            InputError: the training text has no such tag.
        """
        names = self.kept_tags([word.tag for word in document.words])
        return np.array(
            [
                NO_TAG if name is None else self.id_of(name, word.source)
                for name, word in zip(names, document.words)
            ],
            np.int32,
        )

    def kept_tags(self, names: Sequence[str | None]) -> list[str | None]:
        """Return the tags of one text as they are kept: those of spans in IOB2."""
        return tags.iob2(names)[0] if self.spans else list(names)

    def to_json(self) -> dict:
        """Return what `labels.json` holds."""
        return {"names": list(self.names), "counts": list(self.counts), "spans": self.spans}

    @classmethod
    def from_json(cls, content: Mapping) -> "Labels":
        """Read what `to_json` returned.

        Raises:
            ValueError: it is something else.
        """
        names, counts, spans = (content.get(name) for name in ("names", "counts", "spans"))
        sound = (
            isinstance(names, list)
            and isinstance(counts, list)
            and isinstance(spans, bool)
            and all(isinstance(name, str) for name in names)
            and all(type(count) is int and count >= 0 for count in counts)
            and len(names) == len(counts) >= 2
            and all(a < b for a, b in zip(names, names[1:]))
        )
        if not sound:
            raise ValueError("expected sorted names, as many counts, and whether they are tags of spans")
        return cls(tuple(names), tuple(counts), spans)

    @property
    def fingerprint(self) -> str:
        """Return a sha256 of what the numbers mean."""
        return hashlib.sha256(json.dumps([self.names, self.spans]).encode()).hexdigest()


def columns_of(fields: tuple[str, ...], labels: Labels | None) -> tuple[Column, ...]:
    """Return the columns of a store for a task whose records have these fields.

    `label` has a number for each document, or `NO_LABEL`. `tag` has one for each token: that of the word that
    begins there, `NO_TAG` or `NO_WORD`. `part` has one for each token: 0 in a source, 1 in a target.
    """
    if "label" in fields:
        value = functools.partial(_label_id, labels)
        return (Column("label", "document", "int32", value, labels.fingerprint),)
    if "tags" in fields:
        return (Column("tag", "word", "int32", labels.tag_ids, labels.fingerprint, between=NO_WORD),)
    if "source" in fields:
        return (Column("part", "part", "uint8", int, ""),)
    return ()


def _label_id(labels: Labels, document: Document) -> int:
    return NO_LABEL if document.label is None else labels.id_of(document.label, document.source)


def labels_in(
    splits: Mapping[str, Split],
    fields: tuple[str, ...],
    say: Callable[[str], None] = lambda line: None,
    labels: Labels | None = None,
) -> Labels | None:
    """Read the labels or the tags of a text, and say what looks wrong in them.

    Args:
        splits: the text, `train` first.
        fields: what its records have; without `label` and `tags` among them nothing is read.
        say: called with a line each.
        labels: those of the training text, where that is not among the splits.

    Returns:
        The labels of the training text, or None.

    Raises:
        InputError: a label is missing, or only another split has it, or the training text has only one.
    """
    if "label" in fields:
        return _of_texts(splits, say, labels)
    return _of_words(splits, say, labels) if "tags" in fields else None


def _of_texts(splits: Mapping[str, Split], say: Callable[[str], None], labels: Labels | None) -> Labels:
    repeated = _RepeatedTexts(splits)
    for name, split in splits.items():
        found = collections.Counter()
        for document in split.documents():
            if document.label is None:
                raise InputError(
                    f"{document.source}: a {name} example without a label; expected one, give it a label or"
                    " leave it out"
                )
            if labels is not None:
                labels.id_of(document.label, document.source)
            found[document.label] += 1
            repeated.add(document, document.label)
        if labels is None:
            labels = _labels(found, spans=False)
            _check_kinds(splits["train"], labels, split.num_documents, say)
    repeated.say_of_them(say)
    return labels


def _of_words(splits: Mapping[str, Split], say: Callable[[str], None], labels: Labels | None) -> Labels:
    repeated = _RepeatedTexts(splits)
    for name, split in splits.items():
        scheme, first_lone = tags.Scheme(), None
        as_read, kept = collections.Counter(), collections.Counter()
        for document in split.documents():
            given = [word.tag for word in document.words]
            if None in given:
                word = document.words[given.index(None)]
                raise InputError(f"{word.source}: the word {word.text!r} has no tag; expected one")
            in_iob2, alone = tags.iob2(given, scheme)
            if alone and first_lone is None:
                first_lone = document.words[alone[0]]
            if labels is not None:
                labels.tag_ids(document)
            as_read.update(given)
            kept.update(in_iob2)
            repeated.add(document, tuple(given))
        if labels is None:
            labels = _tags(split, as_read, kept)
            _check_kinds(split, labels, as_read.total(), say)
        if labels.spans:
            _say_of_scheme(name, scheme, first_lone, say)
    repeated.say_of_them(say)
    return labels


def _tags(split: Split, as_read: collections.Counter, kept: collections.Counter) -> Labels:
    if not tags.are_of_spans(as_read):
        if odd := tags.odd_tag(as_read):
            word = next(word for document in split.documents() for word in document.words if word.tag == odd)
            raise InputError(
                f"{word.source}: the tag {odd!r} is none of a span, and others are: expected O, or B- or I-"
                " before the type; correct it, or name the column of the tags with --label_field"
            )
        return _labels(as_read, spans=False)
    return _labels(kept, spans=True)


def _labels(found: Mapping[str, int], spans: bool) -> Labels:
    names = sorted(tags.with_continuations(found) if spans else found)
    return Labels(tuple(names), tuple(found.get(name, 0) for name in names), spans)


def _check_kinds(split: Split, labels: Labels, total: int, say: Callable[[str], None]) -> None:
    """Refuse a single label; say which ones are nearly the same, and if there are too many."""
    there = [name for name, count in zip(labels.names, labels.counts) if count]
    if len(there) == 1:
        raise InputError(
            f"all {total:,} labels of the training text, {split.description.spec}, are {there[0]!r}: expected"
            " at least two different ones; check --label_field, or add examples of others"
        )
    alike = collections.defaultdict(list)
    for name in there:
        alike["".join(name.split()).casefold()].append(name)
    for names in alike.values():
        if len(names) > 1:
            same = " and ".join(f"{name!r} ({labels.counts[labels.names.index(name)]:,})" for name in names)
            say(f"the labels {same} differ only in case or spaces, and are different labels")
    if total >= MANY_NAMES and 2 * len(there) > total:
        say(
            f"the training text has {len(there):,} different labels for {total:,} examples, such as"
            f" {_listed(there[:3])}; --label_field names another field"
        )


def _say_of_scheme(name: str, scheme: tags.Scheme, lone: Word | None, say: Callable[[str], None]) -> None:
    kind = scheme.name()
    if kind != "IOB2":
        say(f"the {name} tags are those of {kind}; they are kept as IOB2")
    if scheme.continued and kind not in ("IOB1", "IOE"):
        say(
            f"{lone.source}: the tag {lone.tag!r} continues no span and is read as the beginning of one, as"
            f" in conlleval ({scheme.continued:,} such tags in {name})"
        )


class _RepeatedTexts:
    """Finds equal texts with different labels; memory: 16 bytes an example."""

    def __init__(self, splits: Mapping[str, Split]):
        self._splits = splits
        self._texts, self._labels = array.array("q"), array.array("q")

    def add(self, document: Document, label: object) -> None:
        """Take the next document of the splits."""
        self._texts.append(hash("".join(document.pieces())))
        self._labels.append(hash(label))

    def say_of_them(self, say: Callable[[str], None]) -> None:
        """Say how many texts have different labels, and which are the first."""
        texts, labels = np.frombuffer(self._texts, np.int64), np.frombuffer(self._labels, np.int64)
        order = np.lexsort((labels, texts))
        texts_in_order, labels_in_order = texts[order], labels[order]
        differs = (texts_in_order[1:] == texts_in_order[:-1]) & (labels_in_order[1:] != labels_in_order[:-1])
        found = np.unique(texts_in_order[1:][differs])
        if not len(found):
            return
        first = int(np.argmax(np.isin(texts, found)))
        second = int(np.argmax((texts == texts[first]) & (labels != labels[first])))
        one, other = self._document(first), self._document(second)
        labelled = f"the labels {one.label!r} and {other.label!r}" if one.words is None else "different tags"
        say(
            f"{one.source} and {other.source} have the same text and {labelled}; texts with more than"
            f" one label: {len(found):,}"
        )

    def _document(self, number: int) -> Document:
        for split in self._splits.values():
            if number < split.num_documents:
                return documents_at(split, [number])[number]
            number -= split.num_documents
        raise IndexError(number)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:SHOWN_NAMES])
    return f"{shown}, ..." if len(names) > SHOWN_NAMES else shown
