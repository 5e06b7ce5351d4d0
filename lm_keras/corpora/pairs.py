"""Pairs of a source and a target text: what every source of them checks, and what looks wrong in them."""

from collections.abc import Callable, Sequence

from lm_keras.corpora.decoding import NOT_TEXT, Counts
from lm_keras.corpora.documents import Document, Pair, Reading
from lm_keras.errors import InputError

REMEDY = "correct it, or leave it out (--on_bad_text=skip leaves out all such records)"

SOURCE, TARGET = "source", "target"
"""What fields of a pair are called that are looked for without a setting."""


def pair_of(
    place: str,
    source: str,
    targets: Sequence[str],
    reading: Reading,
    counts: Counts,
    clean: Callable[[str, list[str], Counts], list[str] | None],
    language: str | None = None,
) -> Document | InputError | None:
    """Return the document of a pair, without white space at the ends of its sides.

    Args:
        place: where it is from.
        source: the text that is read.
        targets: what it may become; none where only the source is read.
        reading: how the corpus is read.
        counts: of pairs that are left out, because both sides are empty.
        clean: as `RecordFiles._cleaned`.
        language: of the target, where the record has it.

    Returns:
        A document; or what is wrong with the pair; or None for one that is counted already.
    """
    sides = [source, *targets]
    if any(NOT_TEXT.search(side) for side in sides):
        cleaned = clean(place, sides, counts)
        if cleaned is None:
            return None
        sides = cleaned
    sides = [side.strip() for side in sides]
    if not any(sides):
        counts.empty_documents += 1
        return None
    for name, side in zip((SOURCE, *[TARGET] * len(targets)), sides):
        if not side:
            return InputError(f"{place}: the {name} is empty; {REMEDY}")
    return Document.from_pair(place, Pair(sides[0], tuple(sides[1:]), language or reading.language))
