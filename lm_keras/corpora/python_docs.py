"""The corpus `python-docs`: English prose that comes with every Python."""

import abc
import ast
import functools
import importlib
import inspect
import os
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lm_keras.corpora.decoding import NOT_TEXT
from lm_keras.corpora.documents import Corpus, Document
from lm_keras.errors import InputError

SKIPPED_FOLDERS = re.compile("tests?|idlelib|lib2to3|site-packages|dist-packages|__pycache__|pydoc_data")
SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class PythonDocs(Corpus):
    """The language reference in `pydoc_data.topics` and the standard library's docstrings.

    About 2 MB. First the topics by name, then the docstrings of modules, classes and functions, by path of
    the file and place in it; a text that occurs again is left out. The files are parsed and never imported.
    The content differs a little between Python versions. Reading takes a few seconds, once; the texts then
    stay in memory.
    """

    spec = "python-docs"
    licence = "PSF License Version 2"

    def __init__(self):
        self._texts: list[tuple[str, str]] | None = None

    def documents(self) -> Iterator[Document]:
        """Yield one document a topic and a docstring, each ending with a line feed.

        Raises:
            InputError: this Python comes without them.
        """
        if self._texts is None:
            self._texts = _distinct(_all_texts())
            if not self._texts:
                raise InputError(
                    "python-docs is empty: this Python has neither pydoc_data nor the sources of its"
                    f" standard library in {sysconfig.get_path('stdlib')}; use another Python or"
                    " --corpus=text:GLOB"
                )
        for source, text in self._texts:
            yield Document.from_text(source, text)


def docstrings(source: str | bytes, filename: str) -> Iterator[tuple[str, str]]:
    r"""Yield the place and the cleaned text of every docstring of a Python source, in the order of the file.

    Nothing is yielded for a source that does not parse.

    Example:
        >>> list(docstrings('"About."\nclass A:\n    def f(self):\n        " Do it. "\n', "a.py"))
        [('a.py', 'About.'), ('a.py:A.f', 'Do it. ')]
    """
    for name, scope in scopes(source):
        text = ast.get_docstring(scope, clean=False)
        if text is not None:
            yield (f"{filename}:{name}" if name else filename), inspect.cleandoc(text)


def scopes(source: str | bytes) -> Iterator[tuple[str, ast.AST]]:
    """Yield the module, the classes and the functions of a Python source with their names, in the order of
    the file; that of the module is empty. Nothing is yielded for a source that does not parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes such as "\d" in old code
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    yield from _scopes_in(tree, "")


def _scopes_in(scope: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
    yield name, scope
    for inner in _inner_scopes(scope):
        yield from _scopes_in(inner, f"{name}.{inner.name}" if name else inner.name)


def _inner_scopes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield classes and functions below a node, not those within them. Expressions hold none: not visited."""
    for branch in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, branch, ()):
            if isinstance(child, SCOPES):
                yield child
            elif hasattr(child, "body") or hasattr(child, "cases"):
                yield from _inner_scopes(child)


def _all_texts() -> Iterator[tuple[str, str]]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics  # one dict of strings
    except ImportError:
        topics = {}
    for name in sorted(topics):
        yield f"pydoc_data.topics:{name}", topics[name]
    for path, source in library_sources():
        yield from docstrings(source, path)


def library_sources() -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of the standard library, by path."""
    root = sysconfig.get_path("stdlib")
    for path in sorted(_source_files(root)):
        with open(os.path.join(root, path), "rb") as file:
            yield path, file.read()


def _source_files(root: str) -> Iterator[str]:
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not SKIPPED_FOLDERS.fullmatch(name)]
        for name in files:
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def _distinct(texts: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keep the first of equal texts, and none that is blank or holds NUL or lone surrogates."""
    first: dict[str, str] = {}
    for source, text in texts:
        text = text.strip("\n") + "\n"
        if not text.isspace() and not NOT_TEXT.search(text):
            first.setdefault(text, source)
    return [(source, text) for text, source in first.items()]


class LibraryCorpus(Corpus):
    """Documents of what is found in the sources of the standard library, which are read once.

    Args:
        fields: what is read; without those of a task a document is a text.
    """

    licence = PythonDocs.licence

    def __init__(self, fields: tuple[str, ...]):
        self._fields = fields

    @abc.abstractmethod
    def _read(self) -> list[tuple[Any, ...]]:
        """Return what the documents are made of."""

    @abc.abstractmethod
    def _document(self, *found: Any) -> Document:
        """Return a document of what `_read` returned for it."""

    @functools.cached_property
    def _found(self) -> list[tuple[Any, ...]]:
        found = self._read()
        if not found:
            raise InputError(
                f"{self.spec} is empty: this Python comes without the sources of its standard library; use"
                " another Python or other text"
            )
        return found

    def documents(self) -> Iterator[Document]:
        """Yield the documents.

        Raises:
            InputError: this Python comes without the sources of its standard library.
        """
        for one in self._found:
            yield self._document(*one)


def different(
    read: Callable[[str | bytes, str], Iterable[tuple[str, str, Any]]],
) -> list[tuple[str, str, Any]]:
    """Return what `read(source, path)` yields of all files of the standard library: a place, a text and
    something of it. A text that comes again is left out.
    """
    first: dict[str, tuple[str, str, Any]] = {}
    for path, source in library_sources():
        for found in read(source, path):
            first.setdefault(found[1], found)
    return list(first.values())
