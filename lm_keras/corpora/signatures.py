"""The corpus `python-docs:signatures`: how functions of the standard library are called, in code and in
words. Nothing is downloaded, and no file is imported.
"""

import ast
import re
from collections.abc import Iterator

from lm_keras.corpora.documents import Document, Pair
from lm_keras.corpora.python_docs import LibraryCorpus, different, scopes

MOST_PARAMETERS = 6
"""Functions with more are left out."""

_HUMP = re.compile(
    r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])|_+"
)


class SignatureDocs(LibraryCorpus):
    """Pairs of the signature of a function or a class and a sentence that says it.

    The sentence has the words of all names, and says what encloses the function behind it:

        BaseEventLoop.run_in_executor(executor, func, *args)
        run in executor of base event loop takes executor, func and all args

    Words are parted at underscores, at capital letters and at digits, and are in lower case. `*` says `all`,
    `**` says `named`, and a parameter with a default comes behind `optional`. `self` and `cls` are left out,
    and so are functions with more than `MOST_PARAMETERS` and what comes again.

    Args:
        fields: what is read: without `source` the two sides are one text.
    """

    spec = "python-docs:signatures"

    def _read(self) -> list[tuple[str, str, str]]:
        return different(signatures)

    def _document(self, place: str, code: str, words: str) -> Document:
        if "source" in self._fields:
            return Document.from_pair(place, Pair(code, (words,) if "target" in self._fields else ()))
        return Document.from_text(place, f"{code}\n{words}\n")


def signatures(source: str | bytes, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield place, code and words of the signatures in a file; see `SignatureDocs`.

    Example:
        >>> list(signatures("def get_URL(path, timeout=None, **options): ...", "a.py"))[0][1:]
        ('get_URL(path, timeout, **options)', 'get url takes path, optional timeout and named options')
    """
    for name, scope in scopes(source):
        given = _arguments(scope)
        if given is None or not name.isascii():
            continue
        names = [part for part in name.split(".") if in_words(part)]
        parameters = list(_parameters(given))
        if not names or len(names) > 2 or len(parameters) > MOST_PARAMETERS:
            continue
        code = f"{'.'.join(names)}({', '.join(mark + name for mark, name, _ in parameters)})"
        words = " of ".join(in_words(part) for part in reversed(names))
        said = [" ".join(filter(None, (kind, in_words(name)))) for _, name, kind in parameters]
        yield f"{path}:{name}", code, f"{words} takes {_listed(said)}"


def in_words(name: str) -> str:
    """Return the words of an identifier.

    Example:
        >>> in_words("HTTPServer_close2")
        'http server close 2'
    """
    return " ".join(word for word in _HUMP.split(name) if word).lower()


def _arguments(scope: ast.AST) -> ast.arguments | None:
    return scope.args if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _parameters(given: ast.arguments) -> Iterator[tuple[str, str, str]]:
    """Yield mark, name and kind of the parameters of a function, in their order."""
    positional = [*given.posonlyargs, *given.args]
    required = len(positional) - len(given.defaults)
    for number, one in enumerate(positional):
        if one.arg not in ("self", "cls"):
            yield "", one.arg, "" if number < required else "optional"
    if given.vararg:
        yield "*", given.vararg.arg, "all"
    for one, default in zip(given.kwonlyargs, given.kw_defaults):
        yield "", one.arg, "" if default is None else "optional"
    if given.kwarg:
        yield "**", given.kwarg.arg, "named"


def _listed(words: list[str]) -> str:
    if not words:
        return "nothing"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
