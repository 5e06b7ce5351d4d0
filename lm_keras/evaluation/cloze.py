"""Blanks of whole words in a text, and how many of them a model fills exactly."""

import re
from typing import NamedTuple

import numpy as np

from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError

WORDS = (1, 2, 3, 4, 5)
"""How many words a blank has."""

MAX_FILLED = 24
"""Tokens that may stand in a blank; words of that many are rare."""

MAX_AROUND = 256
"""Characters before a blank that are read, at most; half as many behind it."""

_WORDS = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")

SEARCHED_TOKENS = 2**18
"""Tokens of a split that are searched for cloze items."""


class Blank(NamedTuple):
    """A place in a text.

    Attributes:
        before, after: what stands around it.
        hidden: what stood there, words behind one blank each: tokens of most vocabularies begin with it.
    """

    before: str
    hidden: str
    after: str


def blanks_in(text: str, words: int, count: int, seed: int, before: int, after: int) -> list[Blank]:
    """Choose places of a text; no two texts around them need to be different.

    Args:
        text: any text; a blank is within a line, among words of letters that single blanks separate.
        words: of a blank.
        count: places at most.
        seed: decides which.
        before, after: characters around a blank at most; they are cut at a word's end.

    Returns:
        Places in the order of the text.

    Example:
        >>> blanks_in("It is the first line.", 2, 1, 0, 10, 10)
        [Blank(before='It is', hidden=' the first', after=' line.')]
    """
    places = []
    for found in _WORDS.finditer(text):
        names = found[0].split(" ")
        begins = np.cumsum([0, *(len(name) + 1 for name in names)]) + found.start()
        # A word stands on either side, so that there is something to go by.
        places += [(begins[n] - 1, begins[n + words] - 1) for n in range(1, len(names) - words)]
    random = np.random.Generator(np.random.Philox(key=seed))
    chosen = sorted(random.permutation(len(places))[:count])
    made = []
    for begin, end in (places[n] for n in chosen):
        left, right = text[max(0, begin - before) : begin], text[end : end + after]
        if begin > before:
            left = left[left.find(" ") + 1 :]
        if end + after < len(text) and " " in right[1:]:
            right = right[: right.rindex(" ")]
        made.append(Blank(left, text[begin:end], right))
    return made


def exact_matches(lm, text: str, count: int, seed: int = 1) -> dict[str, float]:
    """Return for blanks of one to five words the share that is filled exactly as it was, every likeliest
    token taken.

    Args:
        lm: a `lm_keras.api.LanguageModel`.
        text: that it was not trained on.
        count: blanks of each length.
        seed: decides where they are.

    Reference: Du et al. (2022), section 3.3 and table 4, and Donahue et al. (2020), for the task.
    """
    # Most tokens have three characters or more, so that there is room for what is filled in; else less is
    # read.
    around = min(MAX_AROUND, lm.model.context_length or MAX_AROUND)
    shares = {}
    for words in WORDS:
        blanks = [_short(lm, blank) for blank in blanks_in(text, words, count, seed, around, around // 2)]
        blanks = [blank for blank in blanks if blank.before]  # Else the words alone are too many.
        hits = sum(_plain(_filled(lm, blank)) == _plain(blank.hidden) for blank in blanks)
        if blanks:
            shares[str(words)] = round(hits / len(blanks), 4)
    return shares


def matches_in(lm, store: TokenStore, split: str, count: int) -> dict[str, float]:
    """Return `exact_matches` of the first `SEARCHED_TOKENS` of a split.

    Args:
        lm: a `lm_keras.api.LanguageModel`.
        store: the split.
        split: its name.
        count: blanks of each length.

    Raises:
        InputError: it has no such places.
    """
    found = exact_matches(lm, lm.tokenizer.decode(store.tokens[1 : 1 + SEARCHED_TOKENS].tolist()), count)
    if not found:
        seen = lm.model.context_length
        room = f", or the {seen:,} tokens that the model sees have no room for one" if seen else ""
        raise InputError(
            f"split {split!r} has no line with several words in which one could be a blank{room}"
        )
    return found


def _filled(lm, blank: Blank) -> str:
    """Return what a model says stands in a blank, of which it is told how much it was."""
    return lm.answer.between(blank.before, blank.hidden, blank.after, MAX_FILLED)


def _short(lm, blank: Blank) -> Blank:
    """Return a place around which there is no more text than a model sees with what it fills in; some see any
    length."""
    most = lm.model.context_length
    if most is None:
        return blank

    def tokens(text):
        return len(lm.tokenizer.encode_prompt(text))

    before, after = blank.before, blank.after
    hidden = tokens(before + blank.hidden) - tokens(before)
    room = most - lm.answer.tokens_between(hidden, MAX_FILLED) - 4
    while tokens(before) + tokens(after) > room and (before or after):
        if len(before) > len(after):
            before = before[len(before) // 4 + 1 :]
        else:
            after = after[: 3 * len(after) // 4]
    return Blank(before, blank.hidden, after)


def _plain(text: str) -> str:
    """Return words of letters and digits with single blanks between them; case counts where the vocabulary
    has it."""
    return " ".join(re.findall(r"\w+", text))
