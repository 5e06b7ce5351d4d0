"""The corpus `tfds:NAME`: data sets of TensorFlow Datasets. The library is imported when one is opened."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from lm_keras.corpora import tfds_builders
from lm_keras.corpora.decoding import Counts, TextDecoder, check_policy
from lm_keras.corpora.documents import Corpus, Document, Reading
from lm_keras.corpora.pairs import pair_of
from lm_keras.corpora.tfds_features import label_path, side_path, text_path, within
from lm_keras.errors import InputError, nearest

EXPECTED = "tfds:NAME[/CONFIG][:VERSION][:SPLIT], such as tfds:tiny_shakespeare or tfds:wiki40b/de:test"
SPEC = re.compile(
    rf"(?P<name>\w+)(?:/(?P<config>[\w+][\w+.-]*))?(?::(?P<version>{tfds_builders.VERSION}))?"
    r"(?::(?P<split>.+))?"
)
OWN_SPLITS = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""What data sets call their training, validation and test text."""

EXAMPLES_AT_ONCE = 32  # one at a time takes three times as long; many books at once take much memory


@dataclasses.dataclass(frozen=True)
class PairFeatures:
    """Pairs in the examples of a data set.

    Attributes:
        targets: names that lead to the target, one path; none where the source alone is read.
        reading: how they are read.
    """

    targets: tuple[tuple[str, ...], ...]
    reading: Reading


class TfdsSplit(Corpus):
    """One string of each example of a split: a document, with its class where one is read.

    Examples come in the order of the files, which is the same on every pass; nothing is held in memory.
    Examples without text are counted and left out.
    """

    def __init__(
        self,
        builder: Any,
        split: str,
        path: tuple[str, ...],
        on_bad_text: str,
        label: tuple[str, ...] | None = None,
        pairs: "PairFeatures | None" = None,
    ):
        """Describe a split of a prepared data set; nothing is read yet.

        Args:
            builder: a `tfds.core.DatasetBuilder`.
            split: name of a split, or slices in the syntax of the library.
            path: names that lead to the string in an example's features.
            on_bad_text: what to do with bytes that are not UTF-8 and with NUL: `error`; `replace` each by
                U+FFFD; `skip` the line.
            label: names that lead to the class in them, or None where no label is read.
            pairs: where source and target of a pair are; None where one text is read.

        Raises:
            InputError: the data set has no such split, the slice is empty, or the policy is unknown.
        """
        self.spec = f"tfds:{tfds_builders.name_of(builder)}:{split}"
        self.licence = " ".join(builder.info.redistribution_info.license.split()) or None
        self.citation = builder.info.citation.strip() or None
        self.on_bad_text = check_policy(on_bad_text)
        self._builder, self._split, self._path, self._label = builder, split, path, label
        self._pairs = pairs
        self._names = within(builder.info.features, label).int2str if label else None
        self._counts = Counts()
        self._remarks: list[str] = []
        self._files = _files(builder, split)

    def documents(self) -> Iterator[Document]:
        """Yield a document an example.

        Raises:
            InputError: the files are damaged or incomplete, or a text is bad and the policy is `error`.
        """
        counts = Counts()
        for number, (content, value, *sides) in enumerate(self._contents()):
            place = f"{self.spec} example {number}"
            if self._pairs:
                pair = self._pair(place, [content, *sides], counts)
                if isinstance(pair, Document):
                    yield pair
                elif pair and self.on_bad_text != "skip":
                    raise pair
                elif pair:
                    counts.skipped_documents += 1
                continue
            bad_lines = counts.skipped_lines
            text = TextDecoder(place, self.on_bad_text, counts).decode(content)
            if text.strip():
                yield Document.from_text(place, text, self._name(place, value))
            elif self._label and self.on_bad_text != "skip":
                raise InputError(
                    f"{place}: the text is empty; leave it out of the split, or pass --on_bad_text=skip"
                )
            elif counts.skipped_lines > bad_lines:
                counts.skipped_documents += 1
            else:
                counts.empty_documents += 1
        self._counts = counts

    def _pair(self, place: str, contents: list[bytes], counts: Counts) -> Document | InputError | None:
        bad_lines = counts.skipped_lines
        sides = [TextDecoder(place, self.on_bad_text, counts).decode(content) for content in contents]
        if counts.skipped_lines > bad_lines:
            return InputError(f"{place}: bad text")
        return pair_of(place, sides[0], sides[1:], self._pairs.reading, counts, lambda *_: None)

    def _name(self, place: str, value: int | None) -> str | None:
        """Return the name of a class. The library gives -1 to examples whose class is a secret."""
        if not self._label:
            return None
        if value < 0:
            raise InputError(
                f"{place}: no label (it is {value}), as in test splits whose labels are a secret; name"
                " another split"
            )
        return self._names(int(value))

    def held_out(self) -> dict[str, Corpus]:
        """Return the data set's own validation and test splits, unless this corpus reads from them."""
        own = {part: _own_split(self._builder, part) for part in ("valid", "test")}
        found = {
            part: TfdsSplit(self._builder, split, self._path, self.on_bad_text, self._label, self._pairs)
            for part, split in own.items()
            if split and self._files.isdisjoint(_files(self._builder, split))
        }
        secret = [part for part, corpus in found.items() if self._label and not corpus.has_labels()]
        self._remarks = [f"{found[part].spec} has no labels, and is left out" for part in secret]
        return {part: corpus for part, corpus in found.items() if part not in secret}

    def remarks(self) -> list[str]:
        """Return which splits of the data set have no labels."""
        return self._remarks

    def has_labels(self) -> bool:
        """Tell whether the first example has a label."""
        return next(self._contents())[1] >= 0

    def report(self) -> dict[str, int]:
        """Return what the last whole pass replaced, skipped and left out, without zeros."""
        return {name: count for name, count in dataclasses.asdict(self._counts).items() if count}

    def _contents(self) -> Iterator[tuple]:
        """Yield the text, or the source, the class or None, and of pairs the target."""
        import tensorflow_datasets as tfds

        # A translation is decoded whole or not at all; images and the like beside the text never are.
        whole = isinstance(self._builder.info.features, tfds.features.Translation)
        others = self._pairs.targets if self._pairs else ()
        used = {path[0]: True for path in (self._path, self._label, *others) if path}
        decoders = None if whole else tfds.decode.PartialDecoding(used)
        try:
            with tfds_builders.quietly():
                batches = self._builder.as_dataset(
                    split=self._split,
                    batch_size=EXAMPLES_AT_ONCE,
                    shuffle_files=False,
                    decoders=decoders,
                    read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                )
            for values in tfds.as_numpy(batches):
                texts = within(values, self._path)
                labels = within(values, self._label) if self._label else [None] * len(texts)
                yield from zip(texts, labels, *(within(values, path) for path in others))
        except Exception as error:
            raise tfds_builders.unreadable(self.spec, self._builder, error) from None


def open_source(rest: str, reading: Reading) -> TfdsSplit:
    """Open a data set, download and prepare it if that was not done yet, and choose a split and a feature.

    Args:
        rest: `NAME[/CONFIG][:VERSION][:SPLIT]`.
        reading: its `part` is the split where none is named, its `text_field` the feature with the text, with
            slashes before nested names; see `tfds_features`.

    Raises:
        InputError: no such data set, split or feature, or it is not there and cannot be prepared.
    """
    parsed = SPEC.fullmatch(rest)
    if not parsed:
        raise InputError(f"tfds:{rest} is not the name of a data set: expected {EXPECTED}")
    builder = tfds_builders.open_builder(parsed["name"], parsed["config"], parsed["version"])
    pairs = None
    if "source" in reading.fields:
        path, *targets = (side_path(builder, reading, n) for n in range(1 + ("target" in reading.fields)))
        pairs = PairFeatures(tuple(targets), reading)
        if path in targets:
            raise InputError(
                f"tfds:{tfds_builders.name_of(builder)}: the source and the target are both"
                f" {'/'.join(path)!r}; name two features with --source_field and --target_field"
            )
    else:
        path = text_path(builder, reading.text_field, reading.say)
    label = label_path(builder, reading) if "label" in reading.fields else None
    tfds_builders.prepare(builder, reading.say)
    split = parsed["split"] or _own_split(builder, reading.part)
    if not split:
        raise InputError(
            f"tfds:{tfds_builders.name_of(builder)} has no {reading.part} split of its own: expected one of "
            f"its splits {_splits(builder)}; name it after a colon, tfds:{rest}:SPLIT"
        )
    return TfdsSplit(builder, split, path, reading.on_bad_text, label, pairs)


def _own_split(builder: Any, part: str) -> str | None:
    names = list(builder.info.splits)
    if part == "train" and len(names) == 1:
        return names[0]
    return next((name for name in OWN_SPLITS[part] if name in names), None)


def _splits(builder: Any) -> str:
    return tfds_builders.listed(sorted(builder.info.splits)) or "none"


def _files(builder: Any, split: str) -> set[str]:
    """Return the names of the files with the examples of a split or of slices of splits."""
    try:
        chosen = builder.info.splits[split]
    except Exception:  # ValueError, KeyError, AssertionError
        names = list(builder.info.splits)
        raise InputError(
            f"tfds:{tfds_builders.name_of(builder)} has no split {split!r}{nearest(split, names)}: expected"
            f" one of {_splits(builder)}, or slices of them such as {names[0]}[:10%] or"
            f" {names[0]}[10:20]+{names[-1]}"
        ) from None
    if chosen.num_examples < 1:
        raise InputError(
            f"tfds:{tfds_builders.name_of(builder)}:{split} holds no example: expected at least one; "
            "take a larger slice"
        )
    return set(chosen.filenames)
