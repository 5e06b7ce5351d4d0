"""ROUGE: how many words and pairs of words a text shares with its references, and their longest common order.

n words of a text, m of a reference.
"""

import dataclasses
import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence

from lm_keras.errors import InputError
from lm_keras.objectives.stemming import stem_of

MEASURES = ("rouge1", "rouge2", "rougeL")
"""What is measured: shared words, shared pairs of words, and the longest common subsequence."""

SHORTEST_STEMMED = 4
"""Letters of a word that is stemmed, at least."""

_ALONE = (
    (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Characters of scripts without spaces, Han and Kana: each counts as a word."""


@dataclasses.dataclass(frozen=True)
class RougeSettings:
    """The four choices that move ROUGE by several points; scores with different ones do not compare.

    Attributes:
        stem: whether English words are reduced to their stems.
        several: of several references the `best` one counts for each measure, or their `mean`.
        by_line: whether `rougeL` joins the longest common subsequences of each line (`rougeLsum`), instead of
            reading a text as one line.
        references: `all` of an example, or its `first` one.
    """

    stem: bool = False
    several: str = "best"
    by_line: bool = False
    references: str = "all"

    def __str__(self) -> str:
        """Return the choices as scores are told with.

        Example:
            >>> str(RougeSettings(stem=True))
            'stem:yes several:best lines:no references:all'
        """
        stem, by_line = ("yes" if on else "no" for on in (self.stem, self.by_line))
        return f"stem:{stem} several:{self.several} lines:{by_line} references:{self.references}"


USUAL = RougeSettings()
"""The choices where nothing else is said."""


def rouge(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    settings: RougeSettings = USUAL,
) -> dict[str, float]:
    """Return the mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L over some texts, in percent.

    Args:
        predictions: the texts.
        references: of each text, one at least.
        settings: see `RougeSettings`.

    Raises:
        InputError: there are no texts, not as many lists of references, or one is empty.

    Example:
        >>> rouge(["a red car"], [["the red car"]])["rouge2"]
        50.0

    Reference: Lin (2004), sections 2, 3.1 and 3.2.
    """
    check_pairs(predictions, references)
    columns = zip(*(of_text(text, own, settings).values() for text, own in zip(predictions, references)))
    return {name: 100 * sum(column) / len(predictions) for name, column in zip(MEASURES, columns)}


def check_pairs(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise InputError unless each of some texts has references."""
    if not len(predictions):
        raise InputError("there are no texts to score")
    if len(predictions) != len(references):
        raise InputError(
            f"there are {len(predictions):,} texts and references for {len(references):,}; expected as many"
        )
    for number, own in enumerate(references, 1):
        if not own:
            raise InputError(f"text {number:,} has no reference; expected one at least")


def of_text(prediction: str, references: Sequence[str], settings: RougeSettings) -> dict[str, float]:
    """Return the F1 of each measure of a text, from 0 to 1."""
    used = references[:1] if settings.references == "first" else references
    found = [_of_pair(prediction, reference, settings) for reference in used]
    joined = max if settings.several == "best" else lambda values: sum(values) / len(values)
    return {name: joined([one[name] for one in found]) for name in MEASURES}


def _of_pair(prediction: str, reference: str, settings: RougeSettings) -> dict[str, float]:
    ours, theirs = words_of(prediction, settings.stem), words_of(reference, settings.stem)
    if settings.by_line:
        lines = [
            [words_of(line, settings.stem) for line in text.split("\n") if line]
            for text in (prediction, reference)
        ]
        longest = _f1(_union_hits(*lines), *(sum(map(len, some)) for some in lines))
    else:
        longest = _f1(_common_length(ours, theirs), len(ours), len(theirs))
    return {"rouge1": _shared(ours, theirs, 1), "rouge2": _shared(ours, theirs, 2), "rougeL": longest}


def _shared(ours: Sequence[str], theirs: Sequence[str], size: int) -> float:
    """Return the F1 of the n-grams of a size that two texts share."""
    counts = [Counter(zip(*(words[begin:] for begin in range(size)))) for words in (ours, theirs)]
    return _f1((counts[0] & counts[1]).total(), counts[0].total(), counts[1].total())


def _f1(hits: int, ours: int, theirs: int) -> float:
    return 2 * hits / (ours + theirs) if hits else 0.0


def words_of(text: str, stem: bool = False) -> list[str]:
    """Return the words of a text, in lower case.

    A word is a run of letters, digits and the marks on them, of any script. A character of Han or Kana is a
    word. Of text in ASCII these are the words of rouge-score.

    Args:
        text: any text.
        stem: whether English words of four letters or more are reduced to their stems.

    Example:
        >>> words_of("It's 5 naïve models: 他很好。", stem=True)
        ['it', 's', '5', 'naïve', 'model', '他', '很', '好']
    """
    spaced = "".join(map(_spaced, unicodedata.normalize("NFC", text.lower())))
    words = spaced.split()
    return [stem_of(word) if len(word) >= SHORTEST_STEMMED else word for word in words] if stem else words


@functools.lru_cache(maxsize=2**16)
def _spaced(character: str) -> str:
    """Return a character as words have it: itself, between spaces where it is a word, or a space."""
    if any(first <= ord(character) <= last for first, last in _ALONE):
        return f" {character} " if character.isalnum() else " "
    return character if unicodedata.category(character)[0] in "LMN" else " "


def _common_length(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    The bits of one number say where it grows, so that a word costs one sum.

    Reference: Hyyrö (2004), section 4.
    """
    where: dict[str, int] = {}
    for position, word in enumerate(theirs):
        where[word] = where.get(word, 0) | 1 << position
    every = (1 << len(theirs)) - 1
    grows = every
    for word in ours:
        hits = grows & where.get(word, 0)
        grows = (grows + hits | grows - hits) & every
    return len(theirs) - grows.bit_count()


def _union_hits(ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> int:
    """Count the words of the reference that are in a common subsequence with one of our lines, each word as
    often as both texts have it.
    """
    left = Counter(word for line in ours for word in line) & Counter(word for line in theirs for word in line)
    hits = 0
    for line in theirs:
        for position in sorted({at for own in ours for at in _common_positions(own, line)}):
            if left[line[position]] > 0:
                left[line[position]] -= 1
                hits += 1
    return hits


def _common_positions(ours: Sequence[str], theirs: Sequence[str]) -> list[int]:
    """Return the positions in the second text of a longest common subsequence; of several the one that
    rouge-score takes.
    """
    table = [[0] * (len(ours) + 1)]
    for word in theirs:
        row = [0]
        for number, own in enumerate(ours):
            row.append(table[-1][number] + 1 if own == word else max(table[-1][number + 1], row[-1]))
        table.append(row)
    found, i, j = [], len(theirs), len(ours)
    while i and j:
        if theirs[i - 1] == ours[j - 1]:
            found.append(i - 1)
            i, j = i - 1, j - 1
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return found
