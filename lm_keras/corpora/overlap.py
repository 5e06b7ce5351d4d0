"""How much of the text that is held out was also learnt."""

import itertools

import numpy as np

from lm_keras.corpora.description import Scan
from lm_keras.corpora.documents import Corpus
from lm_keras.corpora.passages import share_in
from lm_keras.errors import shown

MUCH_IN_TRAIN = 0.1
"""Share of a given validation or test text in the training text from which on it is said."""


def shares_in_train(scan: Scan, splits: dict, given: dict[str, Scan]) -> dict[str, float | None]:
    """Return for each split but train the share of its bytes that are in passages of train.

    Args:
        scan: of the corpus that was divided.
        splits: the `Split`s by name.
        given: scans of the corpora that are splits as they are.
    """
    every = [scan, *given.values()]
    rate = max(one.passages.rate for one in every)
    for one in every:
        one.passages.thin(rate)
    hashes, numbers, offsets, sizes = scan.passages.table()
    learnt = hashes[splits["train"].holds(numbers, offsets)]
    shares = {}
    for name in splits:
        if name in given:
            own_hashes, _, _, own_sizes = given[name].passages.table()
        elif name != "train":
            mine = splits[name].holds(numbers, offsets)
            own_hashes, own_sizes = hashes[mine], sizes[mine]
        else:
            continue
        shares[name] = share_in(own_sizes, own_hashes, learnt)
    return shares


def also_learnt(name: str, other: Corpus, own: Scan, scan: Scan, splits: dict) -> str | None:
    """Return a line on a given corpus that is in the training text, or None if it is not.

    Args:
        name: `valid` or `test`.
        other: the corpus.
        own: its scan.
        scan: of the corpus that was divided.
        splits: the `Split`s by name.
    """
    measured = {"valid": "validation", "test": "test"}[name]
    numbers = np.arange(len(scan.hashes))
    learnt = scan.hashes[splits["train"].holds(numbers, np.zeros_like(numbers))]
    shared = np.isin(own.hashes, learnt) & (own.sizes > 0)
    if shared.any():
        first = next(itertools.islice(other.documents(), int(np.argmax(shared)), None)).source
        share = own.sizes[shared].sum() / own.sizes.sum()
        return (
            f"{shown(first)} is part of the training text, too ({shared.sum():,} of {len(shared):,} documents"
            f" of {other.spec}, {share:.1%} of its text): the {measured} loss is of text that was learnt;"
            " leave it out of one of both"
        )
    in_train = splits[name].in_train
    if in_train is not None and in_train >= MUCH_IN_TRAIN:
        return (
            f"{in_train:.1%} of the {measured} text, {other.spec}, is in the training text, too: that"
            " part of its loss is of text that was learnt; leave it out of one of both"
        )
    return None
