"""The one exception that a user is meant to read."""


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
