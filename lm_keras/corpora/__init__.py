"""Corpora: where the text comes from, and how it is split. Nothing here needs TensorFlow."""

import os

from lm_keras.corpora.description import Description, describe
from lm_keras.corpora.documents import Corpus, Document
from lm_keras.corpora.python_docs import PythonDocs
from lm_keras.corpora.splits import Split, make_splits
from lm_keras.corpora.text_files import TextFiles
from lm_keras.errors import InputError, nearest

__all__ = [
    "Corpus",
    "Description",
    "Document",
    "PythonDocs",
    "Split",
    "TextFiles",
    "describe",
    "make_splits",
    "open_corpus",
]


def open_corpus(spec: str, *, text_field: str, on_bad_text: str) -> Corpus:
    """Return the corpus that a specification names; nothing is read yet.

    Args:
        spec: `python-docs` or `text:GLOB` (several globs with commas between).
        text_field: name of the field that holds the text in JSON lines.
        on_bad_text: `error`, `replace` or `skip`; see `TextFiles`.

    Raises:
        InputError: the specification is unknown, or its files cannot be read.

    Example:
        >>> corpus = open_corpus("text:data/**/*.txt", text_field="text", on_bad_text="error")
        >>> [document.source for document in corpus.documents()]
        ['data/a.txt', 'data/more/b.txt']
    """
    if spec == PythonDocs.spec:
        return PythonDocs()
    scheme, colon, rest = spec.partition(":")
    if scheme == "text" and colon:
        return TextFiles(rest, text_field=text_field, on_bad_text=on_bad_text)
    if os.path.exists(spec) or "*" in spec:
        hint = f" (did you mean 'text:{spec}'?)"
    else:
        hint = nearest(scheme, [PythonDocs.spec, "text"])
    raise InputError(
        f"unknown corpus {spec!r}{hint}: expected python-docs or text:GLOB, such as text:data/*.txt"
    )
