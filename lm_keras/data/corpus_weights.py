"""The weights of corpora that are mixed, and where each corpus begins in a store.

C corpora.
"""

import fractions
import itertools
import math
from collections.abc import Callable

import numpy as np

from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError

LONGEST_PATTERN = 10_000
"""Rows after which the pattern of corpora comes again, at most."""

COLUMN = "corpus"
"""The column of a store with the number of the corpus of each document."""


def weights_of(text: str | None, corpora: int) -> tuple[int, ...] | None:
    """Read `--corpus_weights`: the smallest whole numbers with the same ratio.

    Args:
        text: numbers above 0 with commas between, or None.
        corpora: C.

    Raises:
        InputError: the text is something else, or there are not as many numbers as corpora.

    Example:
        >>> weights_of("0.6,0.2", 2)
        (3, 1)
    """
    if text is None:
        return None
    try:
        given = [fractions.Fraction(part.strip()) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        given = []
    if not given or min(given) <= 0:
        raise InputError(
            f"--corpus_weights={text}: expected numbers above 0 with commas between, such as 3,1"
        )
    if len(given) != corpora or corpora < 2:
        raise InputError(
            f"--corpus_weights={text} has {len(given)} numbers, and --corpus names {corpora}"
            f" {'corpus' if corpora == 1 else 'corpora'}: expected one for each of several, such as"
            " --corpus='text:a.txt text:b.txt' --corpus_weights=3,1"
        )
    scale = math.lcm(*(one.denominator for one in given))
    whole = [int(one * scale) for one in given]
    whole = [one // math.gcd(*whole) for one in whole]
    if sum(whole) > LONGEST_PATTERN:
        raise InputError(
            f"--corpus_weights={text}: in whole numbers that is {','.join(map(str, whole))}; expected numbers"
            f" with a sum of at most {LONGEST_PATTERN:,}; round them"
        )
    return tuple(whole)


def bounds_of(store: TokenStore, corpora: int) -> np.ndarray:
    """Return the first document of each corpus of a store, and the number of all, [C + 1] int64."""
    return np.searchsorted(np.asarray(store.columns[COLUMN]), np.arange(corpora + 1))


def first_targets(store: TokenStore, corpora: int) -> np.ndarray:
    """Return the first target of each corpus of a store, and the number of all targets, [C + 1]."""
    last = len(store.tokens) - 1
    return np.append(store.documents - 1, last)[bounds_of(store, corpora)]


def packed_apart(
    pack: Callable[[int, int], tuple[np.ndarray, np.ndarray]], bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pack the examples of each corpus into rows of their own.

    Args:
        pack: first example and the one behind the last -> members, counted from the first one, and begins, as
            `lm_keras.data.examples.packed` returns them.
        bounds: [C + 1], the first example of each corpus, and their number.

    Returns:
        members and begins of all rows, and the first row of each corpus with the number of all, [C + 1].
    """
    members, begins, rows = [], [np.zeros(1, np.int64)], [0]
    for first, last in itertools.pairwise(bounds.tolist()):
        own, own_begins = pack(first, last)
        members.append(own + first)
        begins.append(own_begins[1:] + first)
        rows.append(rows[-1] + len(own_begins) - 1)
    return np.concatenate(members), np.concatenate(begins), np.array(rows)


def shares_of(rows: int, weights: tuple[int, ...]) -> list[int]:
    """Divide the rows of a batch by weight, to the nearest whole numbers with the same sum.

    Example:
        >>> shares_of(32, (3, 1)), shares_of(5, (1, 1, 1))
        ([24, 8], [2, 2, 1])
    """
    exact = [rows * weight / sum(weights) for weight in weights]
    shares = [int(one) for one in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: (shares[index] - exact[index], index))
    for index in by_rest[: rows - sum(shares)]:
        shares[index] += 1
    return shares
