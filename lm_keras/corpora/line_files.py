"""The corpus `lines:SOURCE,TARGET`: parallel files, in which lines with the same number are a pair."""

import itertools
import os
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts
from lm_keras.corpora.documents import Document, Reading
from lm_keras.corpora.file_lists import find_files
from lm_keras.corpora.pairs import pair_of
from lm_keras.corpora.record_files import RecordFiles
from lm_keras.errors import InputError, shown

EXPECTED = "expected lines:SOURCE,TARGET, two files or two globs, such as lines:train.de,train.en"

SHOWN_CHARACTERS = 40
"""Characters of a line that a message shows."""


class LineFiles(RecordFiles):
    """Pairs in two files, or in as many files on either side, in the order of their paths.

    A line ends with a line feed and nothing else: other separators that Unicode has are part of a text, as
    they are in `wc` and in the tools of this field. Lines that are empty in both files are left out.

    Args:
        rest: `SOURCE,TARGET`.
        reading: how they are read.

    Raises:
        InputError: there are not two sides, or they have different numbers of files.
    """

    def __init__(self, rest: str, reading: Reading):
        source, target = _sides(rest)
        super().__init__("lines", source, reading)
        self.spec = f"lines:{rest}"
        targets = find_files(target, "lines")
        if len(targets) != len(self.files):
            raise InputError(
                f"{self.spec}: {len(self.files)} source files, from {shown(self.files[0])} on, and"
                f" {len(targets)} target files, from {shown(targets[0])} on: expected as many"
            )
        self._target_of = dict(zip(self.files, targets))
        for path, other in self._target_of.items():
            if path == other:
                raise InputError(f"{self.spec}: {shown(path)} is on both sides; {EXPECTED}")

    def _records(
        self, path: str, lines: Iterator[tuple[int, str]], counts: Counts
    ) -> Iterator[Document | InputError | None]:
        target = self._target_of[path]
        if path not in self._counts:
            self._check_as_many(path, target)
        others = self._lines(target, counts)
        for (number, source), (_, line) in zip(lines, others):
            place = f"{shown(path)}:{number}"
            yield pair_of(place, source, [line], self.reading, counts, self._cleaned)
        self._counts.setdefault(target, Counts())  # What looks wrong in it is told of once.

    def _check_as_many(self, path: str, target: str) -> None:
        """Raise InputError if two files have different numbers of lines."""
        own, other = self._num_lines(path), self._num_lines(target)
        if own == other:
            return
        longer = path if own > other else target
        number, line = next(itertools.islice(self._plain_lines(longer), min(own, other), None))
        told = f"the first line without a partner is {shown(longer)}:{number} {_shortened(line)}"
        if one_sided := self._first_one_sided(path, target):
            told = f"the first line with a text on one side only is {one_sided}, and {told}"
        raise InputError(
            f"{shown(path)} has {own:,} lines and {shown(target)} has {other:,}: expected as many, because"
            f" lines with the same number are a pair; {told}"
        )

    def _first_one_sided(self, path: str, target: str) -> str | None:
        for (number, source), (_, line) in zip(self._plain_lines(path), self._plain_lines(target)):
            if bool(source.strip()) != bool(line.strip()):
                return f"{shown(path if source.strip() else target)}:{number}"
        return None

    def _plain_lines(self, path: str) -> Iterator[tuple[int, str]]:
        return self._lines(path, Counts())

    def _num_lines(self, path: str) -> int:
        count, last = 0, b"\n"
        for block in self._blocks(path):
            count += block.count(b"\n")
            last = block[-1:]
        return count + (last != b"\n")


def open_source(rest: str, reading: Reading) -> LineFiles:
    """Return the pairs of two files or globs; see `LineFiles`."""
    return LineFiles(rest, reading)


def _sides(rest: str) -> tuple[str, str]:
    """Return the two sides; of several commas the one that both sides have a file at, if any."""
    parts = rest.split(",")
    divided = [(",".join(parts[:n]).strip(), ",".join(parts[n:]).strip()) for n in range(1, len(parts))]
    divided = [sides for sides in divided if all(sides)]
    if len(divided) > 1:
        divided = [sides for sides in divided if all(map(_is_there, sides))]
    if len(divided) != 1:
        raise InputError(f"lines:{rest} does not name two sides: {EXPECTED}")
    return divided[0]


def _is_there(name: str) -> bool:
    if "," in name:
        return os.path.isfile(os.path.expanduser(name))
    try:
        return bool(find_files(name, "lines"))
    except InputError:
        return False


def _shortened(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")
