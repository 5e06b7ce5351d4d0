"""CoNLL files: columns, sentences, comments, and what is wrong in a line."""

import pytest

from lm_keras.corpora import open_corpus
from lm_keras.errors import InputError

TAGGED = ("words", "tags")


@pytest.fixture
def conll(tmp_path, monkeypatch):
    """Returns a function that writes a file and opens it."""
    monkeypatch.chdir(tmp_path)

    def opened(content, fields=TAGGED, text_field="text", on_bad_text="error", **how):
        (tmp_path / "a.conll").write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_corpus(
            "conll:a.conll", text_field=text_field, on_bad_text=on_bad_text, fields=fields, **how
        )

    return opened


def read(corpus):
    return [[(word.text, word.tag) for word in document.words] for document in corpus.documents()]


def refused(corpus):
    with pytest.raises(InputError) as error:
        list(corpus.documents())
    return str(error.value)


TWO = [[("EU", "B-org"), ("met", "O")], [("Li", "B-per")]]


@pytest.mark.parametrize(
    "content",
    [
        "EU\tB-org\nmet\tO\n\nLi\tB-per\n",
        "EU\tB-org\nmet\tO\n\t\nLi\tB-per",  # As in WNUT-17, and without the last line feed.
        "\n\nEU B-org\nmet  O \n   \n\nLi B-per\n\n\n",
        "EU\tB-org\r\nmet\tO\r\n\r\nLi\tB-per\r\n",
        "-DOCSTART- -X- O O\n\nEU NNP I-NP B-org\nmet VBD I-VP O\n\nLi NNP I-NP B-per\n",
        "# newdoc id = 1\n# text = EU met\nEU\tB-org\nmet\tO\n\n# text = Li\nLi\tB-per\n",
        "# a comment\nEU B-org\nmet O\n-DOCSTART- O\nLi B-per\n",
        "\ufeffEU\tB-org\nmet\tO\n\nLi\tB-per\n",
    ],
)
def test_words_tags_and_sentences(conll, content):
    assert read(conll(content)) == TWO


def test_each_word_knows_its_line(conll):
    first, second = conll("# c\nEU\tO\nmet\tO\n\t\nLi\tB-per\n").documents()
    assert (first.source, second.source) == ("a.conll:2", "a.conll:5")
    assert [word.source for word in first.words] == ["a.conll:2", "a.conll:3"]
    assert "".join(first.pieces()) == "EU met"


def test_a_hash_is_a_word_where_it_has_a_tag(conll):
    assert read(conll("a O\n# O\n# b\n#\tO\n".replace("\t", " "))) == [[("a", "O"), ("#", "O"), ("#", "O")]]
    corpus = conll("a NN\n# NN\n")
    assert read(corpus) == [[("a", "NN")]]
    (remark,) = corpus.remarks()
    assert remark.startswith("a.conll: lines such as '# NN' are read as comments; put tabs between")
    assert read(conll("a\tO\n#\tO\n#tag\tO\n")) == [[("a", "O"), ("#", "O"), ("#tag", "O")]]


def test_columns_by_number(conll):
    content = "1\tEU\tPROPN\tB-org\tx\n2\tmet\tVERB\tO\tx\n"
    assert read(conll(content, text_field="2", label_field="4")) == [TWO[0]]


def test_universal_dependencies(conll):
    rest = "\t_" * 6
    content = (
        f"# text = vamonos\n1-2\tvamonos\t_\t_{rest}\n1\tvamos\tir\tVERB{rest}\n2\tnos\ttu\tPRON{rest}\n"
    )
    assert "as in CoNLL-U; name the columns" in refused(conll(content.replace("1-2", "1")))
    corpus = conll(content, text_field="2", label_field="4")
    assert read(corpus) == [[("vamos", "VERB"), ("nos", "PRON")]]


def test_only_the_words_or_the_text_where_no_more_is_needed(conll):
    assert read(conll("EU\nmet\n\nLi\n", fields=("words",))) == [
        [("EU", None), ("met", None)],
        [("Li", None)],
    ]
    (document, _) = conll("EU\tB-org\nmet\tO\n\nLi\tB-per\n", fields=("text",)).documents()
    assert document.words is None and "".join(document.pieces()) == "EU met"


WRONG = [
    ("EU\tO\nmet\n", "a.conll:2: 1 column, and the first word has 2: the word 'met' has no tag"),
    ("EU\tO\nmet\tO\tx\n", "a.conll:2: 3 columns, and the first word has 2"),
    ("EU\n", "a.conll:1: one column, 'EU': expected a word and its tag"),
    ("EU\tO\n\tO\n", "a.conll:2: the word is empty"),
    ("\n \n", "a.conll is empty"),
    (b"EU\tO\nm\xfft\tO\n", "a.conll: bad UTF-8 (byte 0xFF) at byte 6, line 2"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_what_is_wrong_is_said_with_file_and_line(conll, content, message):
    assert refused(conll(content)).startswith(message)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"text_field": "word"}, "--text_field=word: the columns of conll: have numbers"),
        ({"label_field": "0"}, "--label_field=0: the columns of conll: have numbers"),
        ({"label_field": "3"}, "a.conll:1: no column 3: there are 2; give another --label_field"),
        ({"label_field": "1"}, "a.conll:1: word and tag are both in column 1"),
    ],
)
def test_columns_that_are_not_there(conll, how, message):
    with pytest.raises(InputError) as error:
        list(conll("EU\tO\n", **how).documents())
    assert str(error.value).startswith(message)


def test_skip_leaves_out_the_whole_sentence(conll):
    content = b"a\tO\nb\n\nEU\tB-org\nmet\tO\n\nc\xff\tO\nd\tO\n\nLi\tB-per\n"
    corpus = conll(content, on_bad_text="skip")
    assert read(corpus) == TWO
    assert corpus.report() == {"skipped_documents": 2}
