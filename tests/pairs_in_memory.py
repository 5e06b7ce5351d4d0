"""Pairs of tokens in a store."""

import numpy as np

from lm_keras.data.store import TextCounts, TokenStore

PAIRS = [
    ([11, 12, 13], [21]), ([14], [22, 23, 24, 25]), ([15] * 7, [26] * 3), ([16, 17], [27, 28]),
    ([18] * 5, [29] * 8), ([31], [41]), ([32] * 4, [42] * 6),
]  # fmt: skip


def store_of(pairs, unscored=None, **columns):
    between = [0] if unscored is None else [0, unscored]
    tokens, part, begins = [0], [0], []
    for source, target in pairs:
        tokens, part = tokens + (between if begins else []), part + ([0] * len(between) if begins else [])
        begins.append(len(tokens))
        tokens += [*source, *target]
        part += [0] * len(source) + [1] * len(target)
    counts = TextCounts(len(tokens) - 1, 9, 9, 9, len(pairs))
    columns = {"part": np.array(part, np.uint8), **columns}
    return TokenStore(np.array(tokens, np.uint16), np.array(begins), counts, unscored, columns)
