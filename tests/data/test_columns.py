"""Columns of a token store: written with the tokens, under the same fingerprint, mapped into memory."""

import json

import numpy as np
import pytest

from lm_keras.config import DataConfig
from lm_keras.data.columns import Column
from lm_keras.data.division import divide
from lm_keras.data.preparation import is_prepared, prepare
from lm_keras.data.store import store_in_cache
from lm_keras.errors import InputError


def text_of(document):
    return "".join(document.pieces())


LABEL = Column("label", "document", "uint8", lambda document: text_of(document).count("a"), "letters a")
PLACE = Column("place", "token", "int32", lambda text, ids: np.arange(1, len(ids) + 1), "places", between=-1)


@pytest.fixture
def config(tmp_path):
    """Two documents: `ab` and `aa c`."""
    (tmp_path / "text.jsonl").write_text('{"text": "ab"}\n{"text": "aa c"}\n')
    settings = {"tokenizer": "char", "split": "100/0/0", "cache_dir": str(tmp_path / "cache")}
    return DataConfig(corpus=f"text:{tmp_path}/text.jsonl", **settings)


def test_a_number_for_each_document_and_each_token(config):
    store = prepare(config, columns=(LABEL, PLACE)).splits["train"]
    assert isinstance(store.columns["label"], np.memmap) and store.columns["label"].dtype == np.uint8
    assert store.columns["label"].tolist() == [1, 2]
    assert len(store.columns["place"]) == len(store.tokens)
    expected = np.full(len(store.tokens), -1)
    for begin, text in zip(store.documents, ("ab", "aa c")):
        expected[begin : begin + len(text)] = np.arange(1, len(text) + 1)
    assert store.columns["place"].tolist() == expected.tolist()


def test_without_columns_nothing_changes(config):
    plain = prepare(config)
    with_columns = prepare(config, columns=(LABEL,))
    (one,), (two,) = (data.splits.values() for data in (plain, with_columns))
    assert one.columns == {} and np.array_equal(one.tokens, two.tokens) and one.counts == two.counts


def test_the_fingerprint_tells_columns_apart(config, tmp_path):
    data = prepare(config, columns=(LABEL,))
    divided = divide(config)
    split = divided.splits["train"]
    folders = {
        store_in_cache(split, data.tokenizer, tmp_path, columns)
        for columns in ((), (LABEL,), (LABEL, PLACE), (Column("label", "document", "uint8", len, "b"),))
    }
    assert len(folders) == 4
    assert is_prepared(config, divided, data.tokenizer, False, (LABEL,))
    assert not is_prepared(config, divided, data.tokenizer, False, (PLACE,))


def test_numbers_that_do_not_fit_are_an_error(config):
    with pytest.raises(InputError, match="the column label has the number 256, which uint8 cannot hold"):
        prepare(config, columns=(Column("label", "document", "uint8", lambda document: 256, "large"),))
    with pytest.raises(ValueError, match="the column place has"):
        prepare(config, columns=(Column("place", "token", "int32", lambda text, ids: ids[1:], "short"),))
    with pytest.raises(ValueError, match="per 'row'"):
        Column("label", "row", "uint8", len, "")


def test_a_damaged_column_is_made_again(config, tmp_path):
    good = prepare(config, columns=(LABEL,)).splits["train"].columns["label"].tolist()
    (path,) = (tmp_path / "cache").rglob("column_label")
    path.write_bytes(b"\x07\x07")
    said = []
    assert (
        prepare(config, say=said.append, columns=(LABEL,)).splits["train"].columns["label"].tolist() == good
    )
    assert any("is damaged" in line for line in said)
    (described,) = (tmp_path / "cache").rglob("store.json")
    assert json.loads(described.read_text())["columns"] == {"label": ["document", "uint8"]}
