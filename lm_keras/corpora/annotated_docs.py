"""The corpora `python-docs:libraries` and `python-docs:names`: docstrings of the standard library with
labels, or their words with tags, by a rule. Nothing is downloaded, and no file is imported.
"""

import ast
import builtins
import collections
import inspect
import re
from collections.abc import Iterator

from lm_keras.corpora.decoding import NOT_TEXT
from lm_keras.corpora.documents import Corpus, Document, Reading, Word
from lm_keras.corpora.python_docs import LibraryCorpus, PythonDocs, different, docstrings, scopes
from lm_keras.corpora.questions import QuestionDocs
from lm_keras.corpora.signatures import SignatureDocs
from lm_keras.errors import InputError, nearest

LEAST_DOCSTRINGS = 100
"""Docstrings of a library that is a label."""

MOST_WORDS = 60
"""Words of a sentence with tags; what is longer is a table or code."""

FUNCTION, CLASS, PARAMETER = "function", "class", "parameter"

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_WORD = re.compile(r"\w+|[^\w\s]")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_CODE = re.compile(r"^\s*(>>>|\.\.\.|[-=+|]{3})", re.MULTILINE)
_BUILT_IN = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and name[0].isupper()
)


class LibraryDocs(LibraryCorpus):
    """Docstrings, each with the library that it belongs to as its label.

    The library is the first part of the path of its file: `asyncio` of `asyncio/events.py`, `shutil` of
    `shutil.py`. Libraries with fewer than `LEAST_DOCSTRINGS` different docstrings are left out, and so is a
    docstring that comes again.

    Args:
        fields: what is read: without `label` the text alone.
    """

    spec = "python-docs:libraries"

    def _read(self) -> list[tuple[str, str, str]]:
        def texts(source: str | bytes, path: str) -> Iterator[tuple[str, str, str]]:
            for place, text in docstrings(source, path):
                if text.strip() and not NOT_TEXT.search(text):
                    yield place, text.strip(), library_of(place)

        found = different(texts)
        counts = collections.Counter(library for _, _, library in found)
        return [one for one in found if counts[one[2]] >= LEAST_DOCSTRINGS]

    def _document(self, place: str, text: str, library: str) -> Document:
        return Document.from_text(place, text, library if "label" in self._fields else None)


class NameDocs(LibraryCorpus):
    """Sentences of docstrings, in which names from code are tagged.

    A name is an identifier, or several with points between them. It is

    - a `function` if a parenthesis opens directly behind it, or if its last part is the name of a function of
      the same file and has an underscore;
    - a `class` if its last part is the name of a class of the same file or of a built-in one such as
      ValueError, and begins with a capital letter;
    - a `parameter` if it is one of the documented function, or of the constructor of the documented class.

    Words are sequences of letters, digits and underscores, and all other characters but white space.
    Paragraphs with examples or tables are left out, and so are sentences of more than `MOST_WORDS` words and
    those that come again.

    Example: in the docstring of a function with the parameter `path`

        Call os.stat() for the given path .   ->   O B-function I-function I-function O O O O B-parameter O

    Args:
        fields: what is read: without `words` the text alone.
    """

    spec = "python-docs:names"

    def _read(self) -> list[tuple[str, str, tuple[Word, ...]]]:
        return different(tagged_sentences)

    def _document(self, place: str, sentence: str, words: tuple[Word, ...]) -> Document:
        if "words" in self._fields:
            return Document.from_words(place, words)
        return Document.from_text(place, " ".join(word.text for word in words))


def open_source(rest: str, reading: Reading) -> Corpus:
    """Return one of the corpora: `rest` is empty, `libraries`, `names`, `signatures` or
    `questions`.

    Raises:
        InputError: it is missing, or its documents lack what the task needs.
    """
    if rest not in KINDS:
        raise InputError(
            f"unknown corpus 'python-docs:{rest}'{nearest(rest, list(KINDS))}: expected python-docs,"
            " python-docs:libraries, python-docs:names, python-docs:signatures or python-docs:questions"
        )
    kind, fields = KINDS[rest]
    lacking = [name for name in reading.fields if name not in ("text", *fields)]
    if lacking:
        able = [name for name, (_, has) in KINDS.items() if set(reading.fields) <= {"text", *has}]
        raise InputError(f"{kind.spec} has no {' and '.join(lacking)}: expected python-docs:{able[0]}")
    return PythonDocs() if kind is PythonDocs else kind(reading.fields)


KINDS = {
    "": (PythonDocs, ()),
    "libraries": (LibraryDocs, ("label",)),
    "names": (NameDocs, ("words", "tags")),
    "signatures": (SignatureDocs, ("source", "target")),
    "questions": (QuestionDocs, ("messages",)),
}
"""What may stand behind `python-docs:`; what it is, and which fields its documents have beside a text."""


def library_of(path: str) -> str:
    """Return the library that a file belongs to.

    Example:
        >>> library_of("asyncio/events.py:get_event_loop"), library_of("shutil.py:copy")
        ('asyncio', 'shutil')
    """
    return path.partition(":")[0].partition("/")[0].removesuffix(".py")


def tagged_sentences(source: str | bytes, path: str) -> Iterator[tuple[str, str, tuple[Word, ...]]]:
    r"""Yield place, text and words of the sentences in the docstrings of a file; see `NameDocs`.

    Example:
        >>> source = 'def load_all(path):\n    "Read path with load_all."\n'
        >>> for _, _, words in tagged_sentences(source, "a.py"):
        ...     print([word.text for word in words], [word.tag for word in words])
        ['Read', 'path', 'with', 'load_all', '.'] ['O', 'B-parameter', 'O', 'B-function', 'O']
    """
    found = list(scopes(source))
    functions = {
        scope.name for _, scope in found if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    classes = _BUILT_IN | {scope.name for _, scope in found if isinstance(scope, ast.ClassDef)}
    for name, scope in found:
        text = ast.get_docstring(scope, clean=False)
        if text is None or NOT_TEXT.search(text):
            continue
        place, parameters = f"{path}:{name}" if name else path, _parameters(scope)
        for sentence in _sentences(inspect.cleandoc(text)):
            kinds = {}
            for one in _NAME.finditer(sentence):
                kind = _kind_of(one, sentence, functions, classes, parameters)
                if kind:
                    kinds.update(dict.fromkeys(range(one.start() + 1, one.end()), f"I-{kind}"))
                    kinds[one.start()] = f"B-{kind}"
            words = tuple(
                Word(word[0], kinds.get(word.start(), "O"), place) for word in _WORD.finditer(sentence)
            )
            if 2 <= len(words) <= MOST_WORDS:
                yield place, sentence, words


def _kind_of(
    name: re.Match, sentence: str, functions: set[str], classes: frozenset[str], parameters: set[str]
) -> str | None:
    last = name[0].rpartition(".")[2]
    if sentence[name.end() : name.end() + 1] == "(" or (last in functions and "_" in last.strip("_")):
        return FUNCTION
    if last in classes and last[0].isupper():
        return CLASS
    return PARAMETER if name[0] in parameters else None


def _parameters(scope: ast.AST) -> set[str]:
    """Return the parameters of a function, or of the constructor of a class."""
    if isinstance(scope, ast.ClassDef):
        inits = [one for one in scope.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return _parameters(inits[0]) if inits else set()
    if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    given = scope.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
    return {one.arg for one in every} - {"self", "cls"}


def _sentences(text: str) -> Iterator[str]:
    for paragraph in _PARAGRAPH_END.split(text):
        if not _CODE.search(paragraph):
            yield from _SENTENCE_END.split(" ".join(paragraph.split()))
