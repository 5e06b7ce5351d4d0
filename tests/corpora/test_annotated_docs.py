"""Labels and tags of the standard library's docstrings, made by a rule."""

import collections

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.corpora.annotated_docs import LEAST_DOCSTRINGS, MOST_WORDS, library_of, tagged_sentences
from lm_keras.errors import InputError


def opened(spec, fields):
    return open_corpus(spec, text_field="text", on_bad_text="error", fields=fields)


@pytest.fixture(scope="module")
def libraries():
    return list(opened("python-docs:libraries", ("text", "label")).documents())


@pytest.fixture(scope="module")
def names():
    return list(opened("python-docs:names", ("words", "tags")).documents())


def test_a_docstring_belongs_to_its_library(libraries):
    assert len(libraries) > 2000
    assert all(library_of(document.source) == document.label for document in libraries)
    counts = collections.Counter(document.label for document in libraries)
    assert len(counts) > 8 and min(counts.values()) >= LEAST_DOCSTRINGS and "asyncio" in counts
    texts = ["".join(document.pieces()) for document in libraries]
    assert len(set(texts)) == len(texts)


def test_names_from_code_are_tagged(names):
    assert len(names) > 5000
    tags = collections.Counter(word.tag for document in names for word in document.words)
    kinds = {"class", "function", "parameter"}
    assert set(tags) == {"O", *(f"{begin}-{kind}" for begin in "BI" for kind in kinds - {"parameter"})} | {
        "B-parameter"
    }
    assert min(tags[f"B-{kind}"] for kind in kinds) > 500 and tags["O"] > tags.total() / 2
    assert max(len(document.words) for document in names) <= MOST_WORDS


SOURCE = '''
class Box:
    """A box. Raises ValueError for a bad size, see os.path.join() and load_all."""

    def __init__(self, size): ...


async def load_all(path, *, mode=None):
    """Load all boxes of the path.

    >>> load_all("path")

    The mode is "r": Box.load_all needs path.
    """
'''


def test_the_rule():
    found = {
        " ".join(word.text for word in words): " ".join(word.tag for word in words)
        for _, _, words in tagged_sentences(SOURCE, "a.py")
    }
    assert found == {
        "A box .": "O O O",
        "Raises ValueError for a bad size , see os . path . join ( ) and load_all .": (
            "O B-class O O O B-parameter O O B-function I-function I-function I-function I-function O O O"
            " B-function O"
        ),
        "Load all boxes of the path .": "O O O O O B-parameter O",
        'The mode is " r " :': "O B-parameter O O O O O",
        "Box . load_all needs path .": "B-function I-function I-function O B-parameter O",
    }


def test_only_the_text_where_no_more_is_needed():
    document = next(opened("python-docs:names", ("text",)).documents())
    assert document.words is None and document.label is None


def test_what_is_not_there():
    with pytest.raises(InputError, match=r"unknown corpus 'python-docs:library' .did you mean 'libraries'"):
        opened("python-docs:library", ("text", "label"))
    with pytest.raises(InputError, match="python-docs has no label: expected python-docs:libraries"):
        opened("python-docs", ("text", "label"))
    with pytest.raises(
        InputError, match="python-docs:libraries has no words and tags: expected python-docs:names"
    ):
        opened("python-docs:libraries", ("words", "tags"))
