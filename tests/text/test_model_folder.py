"""The tokenizer of another project's model, and with which of its tokens a document begins: ids 0 to 8, `<s>`
1, `</s>` 2.
"""

import json

import numpy as np
import pytest
import tokenizers as library

from lm_keras.corpora import make_splits, open_corpus
from lm_keras.data.pipeline import documents_of
from lm_keras.data.scoring import streams, windows
from lm_keras.data.store import tokenized
from lm_keras.errors import InputError
from lm_keras.tasks import causal_lm
from lm_keras.text import find_tokenizer, load_tokenizer
from lm_keras.text.model_folder import read_tokenizer

BEGIN, END = 1, 2


@pytest.fixture
def folder(tmp_path):
    """A function that writes a folder with a tokenizer, and with such settings in its config.json and beside
    it.
    """
    vocabulary = {
        "<unk>": 0,
        "<s>": BEGIN,
        "</s>": END,
        **{c: 3 + n for n, c in enumerate("abc\u0120\u010a")},
    }

    def write(config=None, beside=None):
        made = library.Tokenizer(library.models.BPE(vocab=vocabulary, merges=[]))
        made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = library.decoders.ByteLevel()
        made.add_special_tokens(["<unk>", "<s>", "</s>"])
        path = tmp_path / "model"
        path.mkdir(exist_ok=True)
        made.save(str(path / "tokenizer.json"))
        for name, content in (("config.json", config), ("tokenizer_config.json", beside)):
            (path / name).unlink(missing_ok=True)
            if content is not None:
                (path / name).write_text(json.dumps(content))
        return path

    return write


@pytest.mark.parametrize(
    ("config", "beside", "begin"),
    [
        ({"vocab_size": 9, "bos_token_id": 1, "eos_token_id": 2}, None, BEGIN),
        ({"vocab_size": 9, "bos_token_id": 1, "eos_token_id": [2, 0]}, {"add_bos_token": True}, BEGIN),
        ({"vocab_size": 9, "bos_token_id": 1, "eos_token_id": 2}, {"add_bos_token": False}, END),
        ({"vocab_size": 9, "bos_token_id": 2, "eos_token_id": 2}, {"bos_token": "<s>"}, END),
        ({"vocab_size": 9, "eos_token_id": 2}, {"bos_token": "<s>"}, BEGIN),
        ({"vocab_size": 9, "bos_token_id": None}, {"bos_token": {"content": "<s>"}}, BEGIN),
        ({}, {"bos_token": "<nowhere>"}, END),
        (None, {"bos_token": None}, END),
        (None, None, END),
    ],
)
def test_with_which_token_a_document_begins(folder, config, beside, begin):
    tokenizer = read_tokenizer(folder(config, beside))
    assert (tokenizer.begin_id, tokenizer.eod_id, tokenizer.vocab_size) == (begin, END, 9 if config else 8)
    assert tokenizer.special_ids == {begin, END}
    assert [tokenizer.token_bytes(i) for i in {begin, END}] == [b""] * len({begin, END})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 9, "bos_token_id": 9}, "config.json has 9 for 'bos_token_id', and 9 tokens"),
        ({"vocab_size": 9, "bos_token_id": "<s>"}, "config.json has '<s>' for 'bos_token_id', and 9 tokens"),
        ({"vocab_size": "9"}, "config.json has '9' for 'vocab_size'"),
    ],
    ids=str,
)
def test_a_token_that_cannot_be(folder, config, message):
    with pytest.raises(InputError) as caught:
        read_tokenizer(folder(config))
    assert str(caught.value) == message


def test_it_is_saved_and_loaded_with_the_token(folder, tmp_path):
    tokenizer = read_tokenizer(folder({"bos_token_id": 1}))
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert (again.begin_id, again.eod_id) == (BEGIN, END)
    assert again.fingerprint() == tokenizer.fingerprint() != read_tokenizer(folder()).fingerprint()
    assert [again.label(i) for i in (BEGIN, END)] == ["<begin>", "<eod>"]
    assert again.with_mask().begin_id == BEGIN
    path = tmp_path / "saved" / "tokenizer.json"
    path.write_text(path.read_text().replace('"begin_id": 1', '"begin_id": 8'))
    with pytest.raises(InputError, match="8 tokens, of which 8 begins a document and 2 ends it"):
        load_tokenizer(tmp_path / "saved")


def test_documents_begin_with_it_in_a_store(folder, tmp_path):
    """The documents "ab" and "c": a 3, b 4, c 5, and `<s>` is read and never predicted."""
    for number, text in enumerate(("ab", "c")):
        (tmp_path / f"{number}.txt").write_text(text)
    corpus = open_corpus(f"text:{tmp_path}/*.txt", text_field="text", on_bad_text="error", part="train")
    whole = make_splits(corpus, fractions=(100, 0, 0))["train"]
    for settings, expected, unscored in (
        ({"bos_token_id": BEGIN}, [BEGIN, 3, 4, END, BEGIN, 5], BEGIN),
        ({}, [END, 3, 4, END, 5], None),
    ):
        store = tokenized(whole, read_tokenizer(folder(settings)), tmp_path / "cache")
        assert store.tokens.tolist() == expected and store.unscored == unscored
        assert [int(store.tokens[at]) for at in store.documents] == [3, 5]
        assert documents_of(np.array([expected[:-1]]), expected[0]).numpy().tolist() == [
            [1, 1, 1, 1, 2] if unscored else [1, 1, 1, 2]
        ]
        for blocks in (
            windows(store.tokens, 3, 2, 2, unscored=store.unscored),
            streams(store.tokens, store.documents, unscored=store.unscored),
        ):
            found = np.concatenate([b.targets[b.weights > 0] for b in blocks])
            assert sorted(found) == [END, 3, 4, 5]


def test_the_folder_of_a_model_is_a_tokenizer(folder, tiny_config, train, tmp_path, monkeypatch):
    """For a run of its own: the tokenizer is copied, and documents begin as that model's do."""
    path = folder({"vocab_size": 9, "bos_token_id": BEGIN, "eos_token_id": END})
    assert find_tokenizer(str(path)) == path
    assert load_tokenizer(path).fingerprint() == read_tokenizer(path).fingerprint()
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"{number:b} a b c\n".replace("0", "a").replace("1", "cb"))
    config = tiny_config(
        corpus=f"text:{tmp_path}/*.txt",
        tokenizer=str(path),
        steps=2,
        eval_every=2,
        checkpoint_every=2,
        split="60/40/0",
    )
    given, batch = [], causal_lm.next_tokens
    monkeypatch.setattr(
        causal_lm, "next_tokens", lambda store, rows: given.append(store.unscored) or batch(store, rows)
    )
    ended = train(config, tmp_path / "run")
    assert ended.code == 0, ended.err
    assert set(given) == {BEGIN}
    for file in path.iterdir():
        file.unlink()
    kept = load_tokenizer(tmp_path / "run" / "tokenizer")
    assert (kept.name, kept.begin_id, kept.vocab_size) == ("huggingface", BEGIN, 9)
    counts = json.loads((tmp_path / "run" / "data.json").read_text())["splits"]["valid"]
    found = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["valid"]
    # Between documents stand two tokens, of which the one that begins the next is no target.
    assert counts["documents"] > 5 and found["tokens"] == counts["tokens"] - (counts["documents"] - 1)


def test_the_two_files_of_gpt2_are_a_tokenizer(tmp_path):
    words = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    with pytest.raises(
        InputError,
        match=r"no tokenizer in .*, which has tokenizer\.json, vocab\.json and merges\.txt, vocab\.txt or",
    ):
        find_tokenizer(str(tmp_path))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    assert find_tokenizer(str(tmp_path)) == tmp_path
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.encode("aab"), tokenizer.eod_id, tokenizer.begin_id) == ([1, 3], 0, 0)


def test_a_tokenizer_of_others_that_is_damaged_is_named(folder):
    path = folder({"bos_token_id": BEGIN})
    whole = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(whole.replace('"BPE"', '"Nothing"'))
    with pytest.raises(InputError, match=r"^damaged or no tokenizer that the library tokenizers reads: "):
        load_tokenizer(path)
    (path / "tokenizer.json").write_text(whole)
    (path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not JSON"):
        load_tokenizer(path)
