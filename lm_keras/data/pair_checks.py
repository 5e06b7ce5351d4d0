"""What looks wrong in pairs, and the languages of their targets: one pass over each split."""

import array
import collections
import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping

import numpy as np

from lm_keras.corpora import Document, Split
from lm_keras.errors import InputError, nearest

MARK = re.compile(r"<2[A-Za-z][\w-]*>|^>>[A-Za-z][\w-]*<<")
"""A target language that is written into a source, as other tools want it."""

MOST_LETTERS = 100
"""Letters of a side that decide on its script."""

CLEAR = 0.9
"""Share of the pairs that have the same two scripts from which on the others look swapped."""

_SCRIPTS = ("LATIN", "CJK", "CYRILLIC", "ARABIC", "GREEK", "HEBREW", "HANGUL", "HIRAGANA", "KATAKANA",
            "DEVANAGARI", "THAI", "BENGALI", "TAMIL", "GEORGIAN", "ARMENIAN", "ETHIOPIC")  # fmt: skip
_TOGETHER = {"HIRAGANA": "KANA", "KATAKANA": "KANA"}
_NAMES = {"CJK": "Chinese"}


def script_of(text: str) -> str | None:
    """Return the script that most letters of the beginning of a text have, or None where it has no letters.

    Example:
        >>> script_of("Ein Hund."), script_of("一只狗 (dog)"), script_of("犬がいます"), script_of("12.")
        ('LATIN', 'CJK', 'KANA', None)
    """
    if text.isascii():
        return "LATIN" if any(map(str.isalpha, text)) else None
    found = collections.Counter(filter(None, map(_script, text[: 2 * MOST_LETTERS])))
    if not found:
        return None
    if found["KANA"]:  # Japanese has Chinese characters, too.
        found["KANA"] += found.pop("CJK", 0)
    return found.most_common(1)[0][0]


@functools.lru_cache(2**16)
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "").partition(" ")[0]
    return _TOGETHER.get(name, name) if name in _SCRIPTS else None


def _told(script: str) -> str:
    return _NAMES.get(script, script.title())


@dataclasses.dataclass
class Found:
    """Pairs of a split of which something is true.

    Attributes:
        count: their number.
        first: where the first one is from.
    """

    count: int = 0
    first: str = ""

    def add(self, document: Document) -> None:
        """Take in one of them."""
        self.first = self.first or document.source
        self.count += 1


class PairChecks:
    """Looks at the pairs of a split, one after the other.

    Attributes:
        pairs: their number.
        languages: of the targets, and how often each comes; None where a pair has none.
        scripts: language, and script of the source and of the target, which differ -> pairs with these.

    Args:
        learnt: hashes of the sources of the training text, sorted; none for the training text itself.
    """

    def __init__(self, learnt: np.ndarray):
        self._learnt, self._sources = learnt, array.array("q")
        self.pairs, self.languages, self.known = 0, collections.Counter(), Found()
        self.identical, self.marked, self.mark = Found(), Found(), ""
        self.scripts: dict[tuple[str | None, str, str], Found] = collections.defaultdict(Found)

    def add(self, document: Document) -> None:
        """Take in a pair."""
        pair = document.pair
        self.pairs += 1
        self.languages[pair.language] += 1
        source = hash(pair.source)
        self._sources.append(source)
        place = np.searchsorted(self._learnt, source)
        if place < len(self._learnt) and self._learnt[place] == source:
            self.known.add(document)
        if pair.source == pair.targets[0]:
            self.identical.add(document)
        if mark := MARK.search(pair.source):
            self.mark = self.mark or mark[0]
            self.marked.add(document)
        source, target = script_of(pair.source), script_of(pair.targets[0])
        if source and target and source != target:
            self.scripts[pair.language, source, target].add(document)

    @property
    def sources(self) -> np.ndarray:
        """Return the hashes of the sources, sorted, int64."""
        return np.unique(np.frombuffer(self._sources, np.int64))

    def usual_scripts(self) -> dict[str | None, tuple[str, str]]:
        """Return by language the scripts of source and target that nearly all pairs have whose scripts
        differ.
        """
        totals = collections.Counter()
        for (language, _, _), found in self.scripts.items():
            totals[language] += found.count
        return {
            language: (source, target)
            for (language, source, target), found in self.scripts.items()
            if found.count >= CLEAR * totals[language]
        }

    def say_of(
        self, name: str, usual: Mapping[str | None, tuple[str, str]], say: Callable[[str], None]
    ) -> None:
        """Say what looks wrong.

        Args:
            name: of the split.
            usual: scripts of the training text by language.
            say: called with a line each.
        """
        if self.identical.count:
            say(
                f"{self.identical.first}: the source and the target are the same text"
                f" ({self._share(self.identical, name)}); a network learns to copy from such pairs"
            )
        if self.known.count:
            say(
                f"{self.known.first}: the source is in the training text, too"
                f" ({self._share(self.known, name)}): scores of such pairs are of text that was learnt"
            )
        if self.marked.count:
            say(
                f"{self.marked.first}: the source holds {self.mark}, which is read as text, piece by piece"
                f" ({self._share(self.marked, name)}); for a token of the language take it out and give"
                " --target_languages or --target_language_field"
            )
        for language, (source, target) in usual.items():
            swapped = self.scripts.get((language, target, source))
            if swapped:
                say(
                    f"{swapped.first}: the source and the target look swapped: their scripts are"
                    f" {_told(target)} and {_told(source)}, and the other way round in most pairs to learn"
                    f" ({self._share(swapped, name)})"
                )

    def _share(self, found: Found, name: str) -> str:
        return f"{found.count:,} of {self.pairs:,} {name} pairs"


def languages_in(
    splits: Mapping[str, Split], fields: tuple[str, ...], say: Callable[[str], None]
) -> tuple[str, ...]:
    """Return the target languages of the training text, sorted, and say what looks wrong in its pairs.

    Args:
        splits: the text, `train` first.
        fields: what its records have; without `target` among them nothing is read.
        say: called with a line each.

    Raises:
        InputError: some pairs have a language and others have none, or another split has one of its own.
    """
    if "target" not in fields:
        return ()
    languages, usual, learnt = None, {}, np.zeros(0, np.int64)
    for name, split in splits.items():
        checks = PairChecks(learnt)
        for document in split.documents():
            language = document.pair.language
            if languages is not None and language not in languages:
                raise _other_language(document, languages)
            checks.add(document)
        if languages is None:
            languages, usual, learnt = tuple(checks.languages), checks.usual_scripts(), checks.sources
            if None in languages and len(languages) > 1:
                first = next(one for one in split.documents() if one.pair.language is None)
                raise InputError(
                    f"{first.source}: this pair has no target language, and others have; expected one for"
                    " each corpus with --target_languages, or a field with --target_language_field"
                )
        checks.say_of(name, usual, say)
    return tuple(sorted(filter(None, languages)))


def _other_language(document: Document, languages: tuple[str | None, ...]) -> InputError:
    known = [name for name in languages if name]
    language = document.pair.language
    if not known:
        return InputError(
            f"{document.source}: the target language {language!r}, and the training text has none; give them"
            " to all corpora or to none"
        )
    return InputError(
        f"{document.source}: {f'the target language {language!r}' if language else 'no target language'} is"
        f" not in the training text{nearest(language or '', known)}: expected {', '.join(sorted(known))}"
    )
