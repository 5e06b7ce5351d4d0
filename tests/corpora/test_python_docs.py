import sys

import pytest

from lm_keras.corpora import describe, open_corpus
from lm_keras.corpora.python_docs import PythonDocs, docstrings
from lm_keras.errors import InputError


@pytest.fixture(scope="module")
def corpus():
    return PythonDocs()


@pytest.fixture(scope="module")
def texts(corpus):
    return [(document.source, "".join(document.pieces())) for document in corpus.documents()]


def test_specification():
    corpus = open_corpus("python-docs", text_field="text", on_bad_text="error")
    assert corpus.spec == "python-docs"
    assert corpus.licence == "PSF License Version 2"


def test_size_and_content(texts):
    size = sum(len(text.encode()) for _, text in texts)
    assert 1_500_000 < size < 4_000_000
    assert len(texts) > 5000
    assert 'The "for" statement' in dict(texts)["pydoc_data.topics:for"]
    assert dict(texts)["textwrap.py:dedent"].startswith("Remove any common leading whitespace")
    assert "json/decoder.py:JSONDecoder.decode" in dict(texts)


def test_order(texts):
    sources = [source for source, _ in texts]
    topics = [source for source in sources if source.startswith("pydoc_data.topics:")]
    assert sources[: len(topics)] == topics == sorted(topics)
    files = [source.partition(":")[0] for source in sources[len(topics) :]]
    assert files == sorted(files)


def test_every_text_is_clean(texts):
    assert len({text for _, text in texts}) == len(texts)
    for _, text in texts:
        assert text.endswith("\n")
        assert text.strip()
        assert not text.startswith("\n")
        assert "\0" not in text
        text.encode("utf-8")


def test_left_out(texts):
    folders = {part for source, _ in texts for part in source.partition(":")[0].split("/")[:-1]}
    assert not folders & {"test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data", "__pycache__"}


def test_again_the_same_and_nothing_is_imported(corpus, texts):
    before = set(sys.modules)
    again = describe(PythonDocs())
    assert set(sys.modules) - before <= {"pydoc_data", "pydoc_data.topics"}
    assert again == describe(corpus)
    assert again.documents == len(texts)


def test_docstrings_of_a_source():
    assert list(docstrings('"About."\nclass A:\n    def f(self):\n        " Do it. "\n', "a.py")) == [
        ("a.py", "About."),
        ("a.py:A.f", "Do it. "),
    ]
    source = '''
if True:
    try:
        async def outer():
            """First.

              indented
            back
            """
            with x:
                class Inner: "Second."
    except E:
        def handler(): 'Third.'
    else:
        def no(): x = "no docstring"
match x:
    case 1:
        def case(): "Fourth."
'''
    assert list(docstrings(source, "b.py")) == [
        ("b.py:outer", "First.\n\n  indented\nback"),
        ("b.py:outer.Inner", "Second."),
        ("b.py:handler", "Third."),
        ("b.py:case", "Fourth."),
    ]


def test_a_source_that_does_not_parse():
    assert list(docstrings("def (", "c.py")) == []
    assert list(docstrings(b"# coding: nonsense\n", "d.py")) == []


def test_a_python_without_documentation(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(
        InputError, match="python-docs is empty: this Python has neither pydoc_data nor the sources"
    ):
        list(PythonDocs().documents())
