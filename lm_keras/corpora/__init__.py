"""Corpora: where the text comes from, and how it is split. Only opening a `tfds:` corpus needs TensorFlow."""

import os
from collections.abc import Callable

from lm_keras.corpora.description import Description, describe
from lm_keras.corpora.documents import Corpus, Document
from lm_keras.corpora.file_lists import path_hint
from lm_keras.corpora.python_docs import PythonDocs
from lm_keras.corpora.splits import EmptySplit, Split, make_splits
from lm_keras.corpora.text_files import TextFiles
from lm_keras.corpora.tfds import TfdsSplit, open_tfds
from lm_keras.errors import InputError, nearest

__all__ = [
    "Corpus",
    "Description",
    "Document",
    "EmptySplit",
    "PythonDocs",
    "Split",
    "TextFiles",
    "TfdsSplit",
    "describe",
    "make_splits",
    "open_corpus",
]


def open_corpus(
    spec: str,
    *,
    text_field: str,
    on_bad_text: str,
    part: str = "train",
    say: Callable[[str], None] = lambda line: None,
    document_separator: str | None = None,
) -> Corpus:
    """Return the corpus that a specification names; nothing is read yet.

    Args:
        spec: `python-docs`, `text:GLOB` (several globs with commas between), or
            `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`, which is downloaded and prepared if it was not yet.
        text_field: name of the field that holds the text in JSON lines, or of the feature in a data set.
        on_bad_text: `error`, `replace` or `skip`; see `TextFiles`.
        part: `train`, `valid` or `test`: what the text is for, and so which of its own splits a data set
            yields if the specification names none.
        say: called with a line before longer work.
        document_separator: text between the documents of a plain file; see `TextFiles`.

    Raises:
        InputError: the specification is unknown, or its files cannot be read.

    Example:
        >>> corpus = open_corpus("text:data/**/*.txt", text_field="text", on_bad_text="error")
        >>> [document.source for document in corpus.documents()]
        ['data/a.txt', 'data/more/b.txt']
    """
    if _is_no_name(spec):
        raise InputError(
            f"the corpus {spec!r} has a NUL or a lone surrogate, which no name has; leave it out"
        )
    if spec == PythonDocs.spec:
        return PythonDocs()
    scheme, colon, rest = spec.partition(":")
    if scheme == "text" and colon:
        return TextFiles(
            rest, text_field=text_field, on_bad_text=on_bad_text, document_separator=document_separator
        )
    if scheme == "tfds" and colon:
        return open_tfds(rest, part=part, text_field=text_field, on_bad_text=on_bad_text, say=say)
    hint = path_hint(spec, rest)
    if not hint and "/" not in scheme:
        hint = nearest(scheme, [PythonDocs.spec, "text", "tfds"])
    raise InputError(
        f"unknown corpus {spec!r}{hint}: expected python-docs, text:GLOB such as text:data/*.txt, or "
        "tfds:NAME[/CONFIG][:SPLIT] such as tfds:tiny_shakespeare"
    )


def _is_no_name(spec: str) -> bool:
    try:
        return b"\0" in os.fsencode(spec)
    except UnicodeEncodeError:
        return True
