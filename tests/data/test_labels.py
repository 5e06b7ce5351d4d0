"""Labels and tags: named once, numbered in sorted order, written beside the tokens; their faults."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import DataConfig
from lm_keras.corpora.documents import Document, Word
from lm_keras.data.labels import NO_LABEL, NO_TAG, NO_WORD, Labels, columns_of
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError

DATA = Path(os.environ.get("LM_KERAS_DATA", "/nonexistent"))
LABELLED, TAGGED = ("text", "label"), ("words", "tags")
ROWS = "a film\tpos\nno film\tneg\nok\tneutral\nfine\tpos\n"
SENTENCES = "EU\tB-org\nmet\tO\nLi\tB-per\nAn\tI-per\n\nhe\tO\nmet\tO\nLi\tB-per\n"


@pytest.fixture
def text(tmp_path, monkeypatch):
    """Returns a function that writes train, valid and test files and prepares them."""
    monkeypatch.chdir(tmp_path)

    def prepared(train, valid=None, test=None, scheme="tsv", say=None, fields=None, tokenizer="char", **how):
        named = {"corpus": train, "valid_corpus": valid, "test_corpus": test}
        given = {}
        for name, content in named.items():
            if content is not None:
                Path(f"{name}.{scheme}").write_text(content)
                given[name] = f"{scheme}:{name}.{scheme}"
        config = DataConfig(
            **{"split": "100/0/0", **given, "tokenizer": tokenizer, "cache_dir": "cache", **how}
        )
        fields = fields or (TAGGED if scheme == "conll" else LABELLED)
        return prepare(config, fields=fields, say=say or (lambda line: None))

    return prepared


def refused(prepared, *args, **how):
    with pytest.raises(InputError) as error:
        prepared(*args, **how)
    return str(error.value)


def test_labels_are_sorted_and_counted_and_stand_beside_the_tokens(text):
    data = text(ROWS, valid="bad\tneg\nso so\tneutral\n")
    assert data.labels == Labels(("neg", "neutral", "pos"), (1, 1, 2))
    train, valid = data.splits["train"], data.splits["valid"]
    assert train.columns["label"].dtype == np.int32 and isinstance(train.columns["label"], np.memmap)
    assert train.columns["label"].tolist() == [2, 0, 1, 2] and valid.columns["label"].tolist() == [0, 1]
    texts = [
        data.tokenizer.decode(train.tokens[begin:end].tolist())
        for begin, end in zip(train.documents, train.ends)
    ]
    assert texts == ["a film", "no film", "ok", "fine"]
    assert data.source("train", 2) == "corpus.tsv:3"


def test_the_order_of_the_rows_does_not_number_the_labels(text):
    backwards = "\n".join(reversed(ROWS.strip().split("\n"))) + "\n"
    assert text(ROWS).labels == text(backwards).labels
    assert text(ROWS).labels != text(ROWS.replace("neutral", "unknown")).labels  # The control.


def test_tags_stand_at_the_first_token_of_their_word(text):
    data = text(SENTENCES, scheme="conll", tokenizer="word")
    names = data.labels.names
    assert names == ("B-org", "B-per", "I-org", "I-per", "O") and data.labels.spans
    assert data.labels.counts == (1, 2, 0, 1, 3)
    store = data.splits["train"]
    tags = store.columns["tag"]
    assert len(tags) == len(store.tokens)
    assert [names[tag] for tag in tags if tag >= 0] == ["B-org", "O", "B-per", "I-per", "O", "O", "B-per"]
    assert tags[0] == NO_WORD and (np.diff(store.documents) == 5).all()


def test_pieces_of_a_word_have_one_tag(text):
    store = text(SENTENCES, scheme="conll").splits["train"]
    for begin, end in zip(store.documents, store.ends):
        tags = store.columns["tag"][begin:end]
        assert np.count_nonzero(tags >= 0) in (3, 4) and np.count_nonzero(tags == NO_WORD) > 4
        assert tags[0] == NO_WORD and tags[1] >= 0  # A space, and then the word.


def test_tags_of_all_schemes_make_the_same_store(text):
    iob1 = SENTENCES.replace("B-", "I-")
    iobes = "EU S-org\nmet O\nLi B-per\nAn E-per\n\nhe O\nmet O\nLi S-per\n".replace(" ", "\t")
    said = []
    stores = [
        text(given, scheme="conll", say=said.append).splits["train"] for given in (SENTENCES, iob1, iobes)
    ]
    for store in stores[1:]:
        assert np.array_equal(store.columns["tag"], stores[0].columns["tag"])
    assert [line for line in said if "kept as IOB2" in line] == [
        "the train tags are those of IOB1; they are kept as IOB2",
        "the train tags are those of IOBES, BMES or BILOU; they are kept as IOB2",
    ]


def test_words_and_texts_without_a_label():
    labels = Labels(("B-per", "I-per", "O"), (1, 1, 1), spans=True)
    words = [Word("a", None, "x:1"), Word("b", "I-per", "x:2"), Word("c", "E-per", "x:3")]
    assert labels.tag_ids(Document.from_words("x:1", words)).tolist() == [NO_TAG, 0, 1]
    (column,) = columns_of(LABELLED, Labels(("a", "b"), (1, 1)))
    assert column.value(Document.from_text("x", "text")) == NO_LABEL
    assert column.value(Document.from_text("x", "text", "b")) == 1
    assert columns_of(("text",), None) == ()


def test_parts_of_speech_are_no_spans(text):
    data = text("he\tPRON\nran\tVERB\nS\tO\n\nshe\tPRON\n", scheme="conll")
    assert data.labels.names == ("O", "PRON", "VERB") and not data.labels.spans


def test_words_of_chinese_without_types(text):
    data = text("上\tB\n海\tE\n浦\tB\n东\tM\n区\tE\n的\tS\n", scheme="conll")
    assert data.labels.names == ("B", "I") and data.labels.counts == (3, 3) and data.labels.spans


FAULTS = [
    ("tsv", ROWS, "bad\tneg\nso\tsad\n", "valid_corpus.tsv:2: the label 'sad' is not in the training text"),
    ("tsv", "a\tpos\nb\tpos\n", None, "all 2 labels of the training text, tsv:corpus.tsv, are 'pos'"),
    ("conll", "a\tO\nb\tO\n", None, "all 2 labels of the training text, conll:corpus.conll, are 'O'"),
    (
        "conll",
        SENTENCES,
        "he\tO\n\nUN\tB-loc\n",
        "valid_corpus.conll:3: the tag 'B-loc' is not in the training",
    ),
    ("conll", SENTENCES.replace("I-per", "per"), None, "corpus.conll:4: the tag 'per' is none of a span"),
    ("jsonl", '{"text": "a"}\n', None, "corpus.jsonl:1: no field 'label'"),
]


@pytest.mark.parametrize(("scheme", "train", "valid", "message"), FAULTS, ids=range(len(FAULTS)))
def test_faults_name_file_and_line(text, scheme, train, valid, message):
    assert refused(text, train, valid, scheme=scheme).startswith(message)


def test_a_tag_that_continues_a_known_type_is_no_fault(text):
    data = text(SENTENCES, "a\tB-org\nb\tI-org\n", scheme="conll")
    assert data.splits["valid"].columns["tag"].max() == data.labels.names.index("I-org")


def told(text, train, *others, scheme="tsv", **how):
    lines = []
    text(train, *others, scheme=scheme, say=lines.append, **how)
    return lines


def test_equal_texts_with_different_labels_are_counted(text):
    rows = ROWS + "ok\tpos\nfine\tpos\nok\tneg\n"
    (line,) = [line for line in told(text, rows) if "same text" in line]
    assert line == (
        "corpus.tsv:3 and corpus.tsv:5 have the same text and the labels 'neutral' and 'pos'; texts with more"
        " than one label: 1"
    )
    assert not any("same text" in line for line in told(text, ROWS + "fine\tpos\n"))


def test_equal_texts_in_training_and_test_are_counted(text):
    lines = told(text, ROWS, "bad\tneg\n", "ok\tneutral\nworse\tneg\n")
    (line,) = [line for line in lines if "part of the training text, too" in line]
    assert line.startswith("test_corpus.tsv:1 ") and "(1 of 2 documents" in line
    assert not any("training text, too" in line for line in told(text, ROWS, "bad\tneg\n", "worse\tneg\n"))


def test_labels_that_are_nearly_the_same_are_named(text):
    lines = told(text, ROWS + "good\tPos\nfilm\tneu tral\n")
    assert (
        "the labels 'Pos' (1) and 'pos' (2) differ only in case or spaces, and are different labels" in lines
    )
    assert any(line.startswith("the labels 'neu tral' (1) and 'neutral' (1)") for line in lines)
    assert not any("case or spaces" in line for line in told(text, ROWS))


def test_a_label_for_each_text_is_told(text):
    rows = "".join(f"text {n}\tlabel {n}\n" for n in range(30))
    assert any("30 different labels for 30 examples" in line for line in told(text, rows))


def test_tags_that_continue_nothing_are_counted(text):
    lines = told(text, SENTENCES + "\nshe\tO\nmet\tO\nUN\tI-org\n\nUN\tI-org\n", scheme="conll")
    (line,) = [line for line in lines if "continues no span" in line]
    assert (
        line.startswith("corpus.conll:12: the tag 'I-org' continues no span")
        and "(2 such tags in train)" in line
    )


def test_texts_and_words_without_tokens_are_told_with_their_line(text, tmp_path):
    from lm_keras.text.wordpiece import WordPieceTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "film", "eu"]
    WordPieceTokenizer.of_vocabulary("\n".join(vocabulary).encode()).save(tmp_path / "pieces")
    lines = []
    data = text("a film\tpos\n\u200b\tneg\n", say=lines.append, tokenizer="./pieces")
    store = data.splits["train"]
    assert store.filled == (1, 1, 0) and (store.ends - store.documents).tolist() == [2, 1]
    assert any(line.startswith("corpus.tsv:2: the tokenizer makes no token of the text") for line in lines)
    lines.clear()
    data = text("a\tO\n\u200b\tB-x\neu\tO\n", scheme="conll", say=lines.append, tokenizer="./pieces")
    assert data.splits["train"].columns["tag"].tolist() == [NO_WORD, 2, 0, 2]
    assert any(line.startswith("corpus.conll:2: the tokenizer makes no token of the word") for line in lines)


def test_few_examples_are_dealt_out_whole(text):
    data = text("".join(f"text {n}\t{'ab'[n % 2]}\n" for n in range(10)), split="80/10/10")
    assert {name: len(store.documents) for name, store in data.splits.items()} == {
        "train": 8, "valid": 1, "test": 1,
    }  # fmt: skip


def test_labels_belong_to_the_fingerprint(text):
    prints = {
        text(rows).report["splits"]["train"]["fingerprint"]
        for rows in (ROWS, ROWS.replace("ok\tneutral", "ok\tpos"), ROWS.replace("neutral", "neutra1"))
    }
    assert len(prints) == 3
    (tmp := Path("corpus.tsv")).write_text(ROWS)
    plain = prepare(
        DataConfig(corpus=f"tsv:{tmp}", split="100/0/0", tokenizer="char", cache_dir="cache")
    ).report["splits"]["train"]["fingerprint"]
    assert plain not in prints


def test_a_label_field_needs_a_task_with_labels(text):
    message = refused(text, ROWS, fields=("text",), label_field="2")
    assert message.startswith("--label_field=2 has no meaning for this task")


def test_the_run_folder_keeps_the_labels(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.labels() is None
    folder.write_labels(None)
    assert folder.labels() is None
    labels = Labels(("B-x", "I-x", "O"), (2, 0, 5), spans=True)
    folder.write_labels(labels)
    assert folder.labels() == labels and folder.labels().fingerprint == labels.fingerprint
    content = json.loads((tmp_path / "labels.json").read_text())
    assert content["names"] == ["B-x", "I-x", "O"] and content["counts"] == [2, 0, 5]
    for change in ({"names": ["O", "B-x", "I-x"]}, {"counts": [1]}, {"spans": 1}, {"counts": [1, -1, 2]}):
        wrong = {key: value for key, value in {**content, **change}.items() if not key.startswith("sha256")}
        (tmp_path / "labels.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=r"labels\.json.*restore it from a copy"):
            folder.labels()


def test_names_and_numbers():
    labels = Labels(("a", "b"), (1, 2))
    assert (
        labels.ids(["b", "a"]).tolist() == [1, 0] and len(labels) == 2 and "b" in labels and "c" not in labels
    )
    with pytest.raises(InputError, match=r"x.tsv:3: the label 'c' is not in the training text"):
        labels.id_of("c", "x.tsv:3")
    assert Labels.from_json(labels.to_json()) == labels
    assert dataclasses.replace(labels, names=("a", "c")).fingerprint != labels.fingerprint


@pytest.mark.skipif(not DATA.is_dir(), reason="LM_KERAS_DATA names no folder")
def test_sst2(tmp_path):
    lines = []
    config = DataConfig(
        corpus=f"tsv:{DATA}/sst2/train.tsv", valid_corpus=f"tsv:{DATA}/sst2/dev.tsv",
        test_corpus=f"tsv:{DATA}/sst2/test.tsv", tokenizer="word", cache_dir=str(tmp_path),
    )  # fmt: skip
    data = prepare(config, fields=LABELLED, say=lines.append)
    assert data.labels == Labels(("0", "1"), (3310, 3610))
    counts = {name: np.bincount(store.columns["label"]).tolist() for name, store in data.splits.items()}
    assert counts == {"train": [3310, 3610], "valid": [428, 444], "test": [912, 909]}
    assert any("(2 of 1,821 documents" in line for line in lines)  # As the README of these data says.


@pytest.mark.skipif(not DATA.is_dir(), reason="LM_KERAS_DATA names no folder")
def test_wnut17(tmp_path):
    config = DataConfig(
        corpus=f"conll:{DATA}/wnut17/wnut17train.conll",
        valid_corpus=f"conll:{DATA}/wnut17/emerging.dev.conll",
        test_corpus=f"conll:{DATA}/wnut17/emerging.test.annotated",
        tokenizer="word",
        cache_dir=str(tmp_path),
    )
    data = prepare(config, fields=TAGGED)
    assert {name: len(store.documents) for name, store in data.splits.items()} == {
        "train": 3394, "valid": 1009, "test": 1287,
    }  # fmt: skip
    words = {name: int((store.columns["tag"] >= 0).sum()) for name, store in data.splits.items()}
    assert words == {"train": 62730, "valid": 15733, "test": 23394}
    begins = [number for number, name in enumerate(data.labels.names) if name.startswith("B-")]
    spans = {name: int(np.isin(store.columns["tag"], begins).sum()) for name, store in data.splits.items()}
    assert spans["train"] == 1975 and spans["test"] == 1079 and len(data.labels) == 13
