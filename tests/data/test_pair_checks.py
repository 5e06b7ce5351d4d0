"""What looks wrong in pairs, and the tokens of target languages."""

import numpy as np
import pytest

from lm_keras.config import DataConfig, from_flat
from lm_keras.data.pair_checks import script_of
from lm_keras.data.pairs import Pairs
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError
from lm_keras.tasks import task_of
from lm_keras.text import load_tokenizer, train_tokenizer

FIELDS = ("source", "target")
LATIN, HAN = [f"the dog {n}" for n in range(40)], [f"狗狗{chr(0x4E00 + n)}" for n in range(40)]


@pytest.fixture
def prepared(tmp_path):
    """Returns a function that prepares pairs, and what it said."""

    def make(pairs, valid=None, **settings):
        for name, rows in (("train", pairs), ("valid", valid or [])):
            (tmp_path / f"{name}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
        said = []
        if valid:
            settings["valid_corpus"] = f"tsv:{tmp_path}/valid.tsv"
        usual = {
            "corpus": f"tsv:{tmp_path}/train.tsv",
            "cache_dir": str(tmp_path / "cache"),
            "tokenizer": "char",
        }
        config = DataConfig(**{**usual, "header": "no", **settings})
        return prepare(config, say=said.append, fields=FIELDS), "\n".join(said)

    return make


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Ein Hund.", "LATIN"), ("Un éléphant", "LATIN"), ("一只狗 (dog)", "CJK"), ("犬がいる", "KANA"),
        ("собака", "CYRILLIC"), ("كلب", "ARABIC"), ("개", "HANGUL"), ("12 + 3", None), ("😀", None),
    ],
)  # fmt: skip
def test_the_script_of_a_text(text, script):
    assert script_of(text) == script


def test_swapped_pairs_are_told(prepared):
    good = list(zip(LATIN, HAN))
    _, said = prepared(good)
    assert "look swapped" not in said
    swapped = [good[0][::-1], *good[1:]]
    _, said = prepared(swapped)
    assert "train.tsv:1: the source and the target look swapped: their scripts are Chinese and Latin" in said
    assert "(1 of" in said
    _, said = prepared(good, valid=[pair[::-1] for pair in good[:5]])
    assert "valid.tsv:1: the source and the target look swapped" in said and "(5 of 5 valid pairs)" in said


def test_both_directions_in_one_run_are_not_swapped(prepared):
    rows = [(a, b, "zh") for a, b in zip(LATIN, HAN)] + [(b, a, "en") for a, b in zip(LATIN, HAN)]
    settings = {"source_field": "1", "target_field": "2"}
    _, said = prepared(rows, target_language_field="3", **settings)
    assert "look swapped" not in said
    _, said = prepared([*rows, (HAN[0] + "a", LATIN[0] + "a", "zh")], target_language_field="3", **settings)
    assert "look swapped" in said


def test_identical_sides_and_written_languages_are_told(prepared):
    pairs = [("a b", "c"), ("same", "same"), ("a <2de> a", "d"), *((f"x{n}", f"y{n}") for n in range(30))]
    _, said = prepared(pairs)
    assert "train.tsv:2: the source and the target are the same text (1 of" in said
    assert "train.tsv:3: the source holds <2de>, which is read as text, piece by piece" in said
    _, said = prepared(pairs[3:])
    assert "same text" not in said and "read as text" not in said


def test_held_out_sources_that_are_learnt_are_told(prepared):
    train = [(f"x{n}", f"y{n}") for n in range(30)]
    _, said = prepared(train, valid=[("z", "y"), ("x3", "other"), ("x4", "y4")])
    assert "valid.tsv:2: the source is in the training text, too (2 of 3 valid pairs)" in said
    _, said = prepared(train, valid=[("z", "y"), ("w", "y3")])
    assert "the source is in the training text" not in said


def test_the_column_of_parts(prepared):
    data, _ = prepared([("ab", "c"), ("d", "efg"), *((f"x{n}", f"y{n}") for n in range(30))], split="100/0/0")
    store = data.splits["train"]
    assert store.columns["part"].tolist()[:11] == [0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0]
    pairs = Pairs.in_store(store)
    sides = [
        (data.tokenizer.decode(pairs.tokens[a:b].tolist()), data.tokenizer.decode(pairs.tokens[b:c].tolist()))
        for a, b, c in zip(pairs.begins, pairs.middles, pairs.ends)
    ]
    assert sides[:2] == [("ab", "c"), ("d", "efg")] and len(sides) == 32


def test_a_token_of_the_language_stands_before_the_source(prepared):
    rows = [("a", f"b{n}", "fr" if n % 2 else "de") for n in range(20)]
    data, _ = prepared(rows, source_field="1", target_field="2", target_language_field="3", split="100/0/0")
    tokenizer = data.tokenizer
    assert tokenizer.languages == ("de", "fr")
    first = tokenizer.vocab_size - 2
    pairs = Pairs.in_store(data.splits["train"])
    assert pairs.tokens[pairs.begins].tolist() == [first, first + 1] * 10
    assert tokenizer.label(first) == "<2de>" and tokenizer.decode([first]) == ""
    config = from_flat({"model": "lstm", "task": "seq2seq", "sequence_length": 8})
    task = task_of(config, tokenizer.vocab_size, tokenizer)
    assert task.kept_first and task.source_ids(tokenizer, " a ", "fr").tolist() == [
        first + 1,
        *tokenizer.encode("a"),
    ]
    with pytest.raises(InputError, match="the language 'it': expected one of de, fr"):
        task.source_ids(tokenizer, "a", "it")
    with pytest.raises(InputError, match="no language of the target: expected one of de, fr"):
        task.source_ids(tokenizer, "a")
    with pytest.raises(InputError, match="this run was trained without languages"):
        task.source_ids(train_tokenizer("char", ["ab"]), "a", "it")


def test_a_language_for_each_corpus(prepared, tmp_path):
    (tmp_path / "other.tsv").write_text("".join(f"b{n}\ta\n" for n in range(9)))
    corpora = f"tsv:{tmp_path}/train.tsv tsv:{tmp_path}/other.tsv"
    rows = [("a", f"b{n}") for n in range(9)]
    data, _ = prepared(rows, corpus=corpora, target_languages="de,en", split="100/0/0")
    pairs, first = Pairs.in_store(data.splits["train"]), data.tokenizer.vocab_size - 2
    assert pairs.tokens[pairs.begins].tolist() == [first] * 9 + [first + 1] * 9
    with pytest.raises(InputError, match="names 3 languages for 2 corpora"):
        prepared(rows, corpus=corpora, target_languages="de,en,fr")
    with pytest.raises(InputError, match="contradict each other"):
        prepared(rows, target_languages="de", target_language_field="3")


def test_languages_that_do_not_fit(prepared):
    rows = [("a", f"b{n}", "de") for n in range(20)]
    fields = {"source_field": "1", "target_field": "2", "target_language_field": "3"}
    said = r"valid\.tsv:1: the target language 'fr' is not in the training text: expected de"
    with pytest.raises(InputError, match=said):
        prepared(rows, valid=[("a", "c", "fr")], **fields)


@pytest.mark.parametrize("kind", ["char", "byte", "word", "sentencepiece"])
def test_a_saved_tokenizer_keeps_its_languages(kind, tmp_path):
    texts = ["low lower lowest\n"] * 9
    size = {"vocab_size": 270} if kind == "sentencepiece" else {}
    plain = train_tokenizer(kind, texts, **size).with_mask()
    tokenizer = plain.with_languages(["de", "fr"])
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.languages == ("de", "fr") and again.vocab_size == plain.vocab_size + 2
    assert again.mask_id == plain.mask_id and again.fingerprint() == tokenizer.fingerprint()
    assert tokenizer.fingerprint() != plain.fingerprint() and again.settings() == plain.settings()
    np.testing.assert_array_equal(again.encode_array("low <2de> low"), plain.encode_array("low <2de> low"))
    assert max(again.encode("low <2de> low")) < plain.vocab_size
    assert tokenizer.with_languages(["fr"]) is tokenizer
