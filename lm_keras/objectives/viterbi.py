"""The likeliest tags of a sentence that make whole spans.

w words of a sentence, C tags.
"""

import functools
from collections.abc import Sequence

import numpy as np


def has_spans(names: Sequence[str]) -> bool:
    """Tell whether tags mark spans by IOB2. Others, such as parts of speech, say something of each word.

    Example:
        >>> has_spans(["B-loc", "I-loc", "O"]), has_spans(["NOUN", "O"])
        (True, False)
    """
    return all(name.partition("-")[0] in ("B", "I", "O") for name in names) and any(
        name.partition("-")[0] == "B" for name in names
    )


def best_tags(log_probabilities: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the likeliest tags among those that make whole spans: `I-TYPE` only follows its own type.

    Args:
        log_probabilities: [w, C], of each tag at each word.
        names: of the C tags. Where these mark no spans, or have no `B-TYPE` for an `I-TYPE`, nothing is
            forbidden.

    Returns:
        [w] int64, numbers of tags.

    Example:
        >>> scores = np.log([[0.1, 0.3, 0.6], [0.1, 0.8, 0.1]])
        >>> best_tags(scores, ["B-loc", "I-loc", "O"]).tolist()
        [0, 1]

    Reference: Forney (1973), section II, for the algorithm.
    """
    free = np.argmax(log_probabilities, axis=-1)
    first, following = _forbidden(tuple(names))
    if not len(free) or not (first[free[0]] or following[free[:-1], free[1:]].any()):
        return free  # Nothing that is allowed is likelier.
    costs = np.where(following, -np.inf, 0.0)  # [C, C]: from, to
    best = np.where(first, -np.inf, log_probabilities[0])  # [C]
    came_from = np.zeros(log_probabilities.shape, np.int64)
    for word, scores in enumerate(log_probabilities[1:], start=1):
        paths = best[:, None] + costs
        came_from[word] = np.argmax(paths, axis=0)
        best = np.max(paths, axis=0) + scores
    tags = np.empty(len(free), np.int64)
    tags[-1] = np.argmax(best)
    for word in range(len(free) - 1, 0, -1):
        tags[word - 1] = came_from[word, tags[word]]
    return tags


@functools.lru_cache(maxsize=8)
def _forbidden(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return which tags can't begin a sentence, [C], and which can't follow which, [C, C]."""
    parts = [name.partition("-")[::2] for name in names]
    begun = {kind for prefix, kind in parts if prefix == "B"} if has_spans(names) else set()
    inside = np.array([prefix == "I" and kind in begun for prefix, kind in parts])
    same = [[of != "O" and one == kind for _, kind in parts] for of, one in parts]
    return inside, inside & ~np.array(same)
