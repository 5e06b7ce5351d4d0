"""Corpora: where the text comes from, and how it is split. Only opening a `tfds:` corpus needs TensorFlow.

The sources are the rows of `lm_keras.registry.SOURCES`. The file of each has `open_source(rest, reading)`,
which returns a `Corpus`: `rest` is what follows the colon, and `reading` a `Reading`.
"""

import os
from collections.abc import Callable
from typing import Any

from lm_keras.corpora.description import CorpusDescription, describe
from lm_keras.corpora.documents import Corpus, Document, Reading
from lm_keras.corpora.file_lists import path_hint
from lm_keras.corpora.python_docs import PythonDocs
from lm_keras.corpora.splits import EmptySplit, Split, make_splits
from lm_keras.corpora.text_files import TextFiles
from lm_keras.corpora.tfds import TfdsSplit
from lm_keras.errors import InputError, nearest
from lm_keras.registry import SOURCES, Source, module_of, one_of, sources_expected

__all__ = [
    "Corpus",
    "CorpusDescription",
    "Document",
    "EmptySplit",
    "PythonDocs",
    "Reading",
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
    fields: tuple[str, ...] = ("text",),
    **others: Any,
) -> Corpus:
    """Return the corpus that a specification names; nothing is read yet.

    Args:
        spec: a row of `lm_keras.registry.SOURCES`: `python-docs`, `text:GLOB` (several globs with commas
            between), or `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`, which is downloaded and prepared if it was
            not yet.
        text_field: which field of a record holds the text; see `Reading`.
        on_bad_text: `error`, `replace` or `skip`; see `TextFiles`.
        part: `train`, `valid` or `test`: what the text is for, and so which of its own splits a data set
            yields if the specification names none.
        say: called with a line before longer work.
        document_separator: text between the documents of a plain file; see `TextFiles`.
        fields: what a record must have; see `Reading`.
        **others: any other attribute of `Reading`.

    Raises:
        InputError: the specification is unknown, its files cannot be read, or its records lack a field.

    Example:
        >>> corpus = open_corpus("text:data/**/*.txt", text_field="text", on_bad_text="error")
        >>> [document.source for document in corpus.documents()]
        ['data/a.txt', 'data/more/b.txt']
    """
    if _is_no_name(spec):
        raise InputError(
            f"the corpus {spec!r} has a NUL or a lone surrogate, which no name has; leave it out"
        )
    scheme, colon, rest = spec.partition(":")
    source = SOURCES.get(scheme)
    if source and source.takes(bool(colon)):
        _check_fields(spec, source, fields)
        reading = Reading(text_field, on_bad_text, part, say, fields=fields, **others)
        return module_of("corpora", source).open_source(rest, reading)
    hint = path_hint(spec, rest)
    if not hint and "/" not in scheme:
        hint = nearest(scheme, list(SOURCES))
    raise InputError(f"unknown corpus {spec!r}{hint}: expected {sources_expected()}")


def _check_fields(spec: str, source: Source, fields: tuple[str, ...]) -> None:
    """Raise InputError if the records of a source lack a field that the task needs."""
    lacking = [name for name in fields if name not in source.fields]
    if lacking:
        able = [row.form for row in SOURCES.values() if set(fields) <= set(row.fields)]
        raise InputError(
            f"{spec}: its records have no {one_of(lacking)}, and this task needs {' and '.join(fields)}:"
            f" expected {one_of(able)}"
        )


def _is_no_name(spec: str) -> bool:
    try:
        return b"\0" in os.fsencode(spec)
    except UnicodeEncodeError:
        return True
