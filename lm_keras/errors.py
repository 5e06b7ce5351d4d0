"""The one exception that a user is meant to read."""

import os
import re


class InputError(ValueError):
    """Say in one line what was wrong, what was expected and what to do.

    Raised for everything that a user's files, flags or arguments can get wrong. Scripts print its text
    and end with exit code 1; no traceback reaches the user.
    """

    def __init__(self, message: str):
        lines = (line.strip() for line in str(message).splitlines())
        super().__init__(shown(" ".join(line for line in lines if line)))


def shown(name: str) -> str:
    r"""Return a file's name or another text on one line, with everything that does not print escaped.

    Example:
        >>> print(shown("two\nlines\udcff"))
        two\nlines\udcff
    """
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


GO_ON = "free space there or make it writable, and the same command goes on"
"""What to do when a run could not write."""


LONGEST_REASON = 200
_WHERE = re.compile(
    r"Graph execution error:|Detected at node |<stack traces|\d+ root error|\s+(?!\s|\(\d+\) )"
)
"""Lines in which TensorFlow tells where in a graph something failed; the reason follows them."""
_COUNTED = re.compile(r"\s*\(\d+\) ([A-Z_]+:\s+)?")


def reason_of(error: Exception) -> str:
    """Return why something failed, on one line, from an error of the system or one of TensorFlow.

    Example:
        >>> reason_of(ValueError("/disk/events; No space left on device\\n\\tFailed to flush 1 events"))
        'No space left on device'
        >>> where = "Detected at node x defined at (most recent call last):\\n  File 'a.py', line 1\\n\\n"
        >>> said = f"Graph execution error:\\n\\n{where}Socket closed\\n\\t [[{{{{node x}}}}]]"
        >>> reason_of(ValueError(said))
        'Socket closed'
    """
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    lines = [line for line in text.strip().split("\n") if line and not _WHERE.match(line)]
    line = _COUNTED.sub("", lines[0]) if lines else type(error).__name__
    short = re.sub(r"\{\{.*?\}\} ?| \[Op:.*", "", line).rsplit("; ", 1)[-1].strip()
    return short if len(short) <= LONGEST_REASON else f"{short[: LONGEST_REASON - 1]}…"


def not_written(path: str | os.PathLike, error: Exception) -> InputError:
    """Return the error for a file that a run could not write while it trains."""
    return InputError(f"cannot write {path}: {reason_of(error)}; {GO_ON}")


def nearest(word: str, good: list[str] | tuple[str, ...], cutoff: float = 0.5) -> str:
    """Return `" (did you mean 'x'?)"` for the good name nearest to `word`, or an empty string.

    Args:
        word: what was given.
        good: the names that there are.
        cutoff: least likeness, `difflib.SequenceMatcher.ratio`, 0 to 1. Of some hundred names one is always a
            little like the word.

    Example:
        >>> nearest("cosin", ["cosine", "linear"])
        " (did you mean 'cosine'?)"
    """
    import difflib

    close = difflib.get_close_matches(str(word), list(good), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""
