"""A text as an array of its code points, and what is counted there faster than in the string."""

import numpy as np

_LAST_SPACE = 0x3000  # no white space has a larger code point
_IS_SPACE = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])


def code_points(text: str) -> np.ndarray:
    """Return the code points of a text [T]; uint8 for ASCII, where that is several times faster."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def count_words(text: str) -> int:
    r"""Return `len(text.split())`, several times as fast where words are short.

    Example:
        >>> count_words(" to be\n\nor\u3000not ")
        4
    """
    space = _IS_SPACE.take(code_points(text), mode="clip")  # what lies beyond is looked up at the end
    return int(np.count_nonzero(space[:-1] & ~space[1:]) + (len(space) and not space[0]))
