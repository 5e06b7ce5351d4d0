"""The stem of an English word, so that ROUGE counts `models` and `model` as one word."""

import functools
from collections.abc import Callable

IRREGULAR = {
    "sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
    "innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing",
    "cannings": "canning", "canning": "canning", "howe": "howe",
    "proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip
"""Words whose stem no rule gives."""

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate",
    "ator": "ate", "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al",
    "iviti": "ive", "biliti": "ble", "fulli": "ful", "logi": "log",
}  # fmt: skip

_STEP_3 = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip

_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
)  # fmt: skip


@functools.lru_cache(maxsize=2**16)
def stem_of(word: str) -> str:
    """Return the stem of a word of lower-case letters.

    Args:
        word: words of up to two letters are their own stem, as are words of other scripts.

    Example:
        >>> stem_of("relational"), stem_of("flies"), stem_of("trying")
        ('relat', 'fli', 'tri')

    Reference: Porter (1980), with the changes of NLTK's `PorterStemmer`, which rouge-score uses.
    """
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2 or not word.isascii():
        return word
    for step in (_plural, _past, _final_y, _step_2, _step_3, _step_4, _final_e):
        word = step(word)
    # Step 5b.
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


def _consonants(word: str) -> list[bool]:
    """Tell of each letter whether it is a consonant; a `y` behind a consonant is a vowel."""
    flags: list[bool] = []
    for letter in word:
        flags.append(not (flags and flags[-1]) if letter == "y" else letter not in "aeiou")
    return flags


def _measure(stem: str) -> int:
    """Return how often a consonant follows a vowel."""
    flags = _consonants(stem)
    return sum(second and not first for first, second in zip(flags, flags[1:]))


def _ends_short(stem: str) -> bool:
    """Tell whether a stem ends with consonant, vowel, consonant (not w, x, y), or is vowel, consonant."""
    flags = _consonants(stem)
    if len(stem) == 2:
        return flags == [False, True]
    return flags[-3:] == [True, False, True] and stem[-1] not in "wxy"


def _replaced(word: str, endings: dict[str, str], allows: Callable[[str], bool]) -> str:
    """Replace the first of some endings that a word has, if what is left before it is long enough."""
    for ending, new in endings.items():
        if word.endswith(ending):
            stem = word[: -len(ending)]
            return stem + new if allows(stem) else word
    return word


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _replaced(word, {"sses": "ss", "ies": "i", "ss": "ss", "s": ""}, lambda _: True)


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        stem = word[: -len(ending)]
        if word.endswith(ending) and not all(_consonants(stem)):
            return _repaired(stem)
    return word


def _repaired(stem: str) -> str:
    """Return a stem with the end that it had before `ed` or `ing`."""
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if len(stem) > 1 and stem[-1] == stem[-2] and _consonants(stem)[-1]:
        return stem if stem[-1] in "lsz" else stem[:-1]
    return stem + "e" if _measure(stem) == 1 and _ends_short(stem) else stem


def _final_y(word: str) -> str:
    return _replaced(word, {"y": "i"}, lambda stem: len(stem) > 1 and _consonants(stem)[-1])


def _step_2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _step_2(word[:-2])
    if word.endswith("logi"):  # The `l` counts as a part of the stem.
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replaced(word, _STEP_2, lambda stem: _measure(stem) > 0)


def _step_3(word: str) -> str:
    return _replaced(word, _STEP_3, lambda stem: _measure(stem) > 0)


def _step_4(word: str) -> str:
    allows = lambda stem: _measure(stem) > 1  # noqa: E731 two rules below differ by it
    ending = next((ending for ending in _STEP_4 if word.endswith(ending)), "")
    if ending == "ion":
        return _replaced(word, {"ion": ""}, lambda stem: allows(stem) and stem[-1] in "st")
    return _replaced(word, {ending: ""}, allows) if ending else word


def _final_e(word: str) -> str:
    if not word.endswith("e"):
        return word
    stem = word[:-1]
    measure = _measure(stem)
    return stem if measure > 1 or (measure == 1 and not _ends_short(stem)) else word
