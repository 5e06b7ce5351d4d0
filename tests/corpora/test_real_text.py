"""English, German and Chinese from real files; LM_KERAS_DATA names the folder that has them."""

import gzip
import json
import os
from pathlib import Path

import pytest

from lm_keras.corpora import describe, make_splits, open_corpus
from lm_keras.text import train_tokenizer

DATA = Path(os.environ.get("LM_KERAS_DATA", "/nonexistent"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="LM_KERAS_DATA names no folder with the data sets")


def open_text(spec, **settings):
    return open_corpus(f"text:{spec}", **{"text_field": "text", "on_bad_text": "error", **settings})


@pytest.fixture(scope="module")
def poems(tmp_path_factory):
    """A thousand poems as JSON lines."""
    path = tmp_path_factory.mktemp("poems") / "tang.jsonl"
    with open(DATA / "chinese-poetry" / "poet.tang.1000.json", encoding="utf-8") as file:
        records = [{"poem": "\n".join(poem["paragraphs"]) + "\n"} for poem in json.load(file)]
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return str(path)


CASES = {
    "english": ("tinyshakespeare/input.txt", 1, 1_115_394, 1_115_394),
    "german": ("multi30k/train.de.gz", 1, 2_110_398, None),
}


@pytest.mark.parametrize("case", list(CASES))
def test_numbers_and_splits(case):
    name, documents, size, characters = CASES[case]
    corpus = open_text(DATA / name)
    description = describe(corpus)
    assert (description.documents, description.bytes) == (documents, size)
    assert characters in (None, description.characters)
    raw = (DATA / name).read_bytes()
    whole = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    parts = [
        "".join(piece for document in split.documents() for piece in document.pieces())
        for split in make_splits(corpus).values()
    ]
    assert "".join(parts) == whole
    assert [round(len(part.encode()) / size, 3) for part in parts] == [0.9, 0.05, 0.05]


def test_poems_as_json_lines(poems):
    splits = make_splits(open_text(poems, text_field="poem"))
    counts = {name: split.num_documents for name, split in splits.items()}
    assert counts == {"train": 900, "valid": 50, "test": 50}


@pytest.mark.parametrize("tokenizer_name", ["char", "sentencepiece"])
@pytest.mark.parametrize("case", ["english", "german", "chinese"])
def test_tokenizers(case, tokenizer_name, poems):
    spec = poems if case == "chinese" else DATA / CASES[case][0]
    train = make_splits(open_text(spec, text_field="poem"))["train"]
    pieces = [piece for document in train.documents() for piece in document.pieces()]
    text = "".join(pieces)[:300_000]
    size = None if tokenizer_name == "char" else 4001
    tokenizer = train_tokenizer(tokenizer_name, [text], vocab_size=size, normalization="nfc")
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalize(text)
    half = text.index("\n", 150_001 if len(text) > 150_001 else 0) + 1
    assert ids == tokenizer.encode(text[:half]) + tokenizer.encode(text[half:])
    if tokenizer_name == "sentencepiece":
        assert len(ids) < len(text) * (0.95 if case == "chinese" else 0.4)
