"""Cloze items of whole words in a text, and how many of them a model fills exactly."""

import re
from typing import NamedTuple

import numpy as np

from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError

WORDS = (1, 2, 3, 4, 5)
"""How many words a cloze item has."""

MAX_FILLED = 24
"""Tokens that may fill a cloze item; words of that many are rare."""

MAX_AROUND = 256
"""Characters before a cloze item that are read, at most; half as many behind it."""

_WORDS = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")

SEARCHED_TOKENS = 2**18
"""Tokens of a split that are searched for cloze items."""


class ClozeItem(NamedTuple):
    """Words of a text that a model has to fill in.

    Attributes:
        before, after: the text around it.
        removed: what was there, words with one space before each: tokens of most vocabularies begin with it.
    """

    before: str
    removed: str
    after: str


def cloze_items(text: str, words: int, count: int, seed: int, before: int, after: int) -> list[ClozeItem]:
    """Choose cloze items of a text; no two texts around them need to be different.

    Args:
        text: any text; an item is within a line, among words of letters with single spaces between them.
        words: of an item.
        count: items at most.
        seed: decides which.
        before, after: characters around an item at most; they are cut at a word's end.

    Returns:
        Items in the order of the text.

    Example:
        >>> cloze_items("It is the first line.", 2, 1, 0, 10, 10)
        [ClozeItem(before='It is', removed=' the first', after=' line.')]
    """
    places = []
    for found in _WORDS.finditer(text):
        names = found[0].split(" ")
        begins = np.cumsum([0, *(len(name) + 1 for name in names)]) + found.start()
        # There is a word on either side, so that there is something to go by.
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
        made.append(ClozeItem(left, text[begin:end], right))
    return made


def exact_matches(lm, text: str, count: int, seed: int = 1) -> dict[str, float]:
    """Return for cloze items of one to five words the share that is filled exactly as it was, every likeliest
    token taken.

    Args:
        lm: a `lm_keras.api.TrainedModel`.
        text: that it was not trained on.
        count: items of each length.
        seed: decides where they are.

    Reference: Du et al. (2022), section 3.3 and table 4, and Donahue et al. (2020), for the task.
    """
    # Most tokens have three characters or more, so that there is room for what is filled in; else less is
    # read.
    around = min(MAX_AROUND, lm.model.context_length or MAX_AROUND)
    shares = {}
    for words in WORDS:
        items = [_short(lm, item) for item in cloze_items(text, words, count, seed, around, around // 2)]
        items = [item for item in items if item.before]  # Else the words alone are too many.
        hits = sum(_plain(_filled(lm, item)) == _plain(item.removed) for item in items)
        if items:
            shares[str(words)] = round(hits / len(items), 4)
    return shares


def matches_in(lm, store: TokenStore, split: str, count: int) -> dict[str, float]:
    """Return `exact_matches` of the first `SEARCHED_TOKENS` of a split.

    Args:
        lm: a `lm_keras.api.TrainedModel`.
        store: the split.
        split: its name.
        count: items of each length.

    Raises:
        InputError: it has no such places.
    """
    found = exact_matches(lm, lm.tokenizer.decode(store.tokens[1 : 1 + SEARCHED_TOKENS].tolist()), count)
    if not found:
        seen = lm.model.context_length
        room = f", or the {seen:,} tokens that the model sees are too few for one" if seen else ""
        raise InputError(
            f"split {split!r} has no line with several words in which one could be a cloze item{room}"
        )
    return found


def _filled(lm, item: ClozeItem) -> str:
    """Return what a model fills in for an item, whose length it is told."""
    return lm.answer.between(item.before, item.removed, item.after, MAX_FILLED)


def _short(lm, item: ClozeItem) -> ClozeItem:
    """Return an item around which there is no more text than a model sees with what it fills in; some see any
    length."""
    most = lm.model.context_length
    if most is None:
        return item

    def tokens(text: str) -> int:
        return len(lm.tokenizer.encode_prompt(text))

    before, after = item.before, item.after
    removed = tokens(before + item.removed) - tokens(before)
    room = most - lm.answer.tokens_between(removed, MAX_FILLED) - 4
    while tokens(before) + tokens(after) > room and (before or after):
        if len(before) > len(after):
            before = before[len(before) // 4 + 1 :]
        else:
            after = after[: 3 * len(after) // 4]
    return ClozeItem(before, item.removed, after)


def _plain(text: str) -> str:
    """Return words of letters and digits with single spaces between them; case counts where the vocabulary
    has it."""
    return " ".join(re.findall(r"\w+", text))
