"""`--embedding_init`: the token embedding of a run begins with the vectors of a file, where that has them."""

import re

import numpy as np
import pytest

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.vectors import write_vectors
from lm_keras.errors import InputError
from lm_keras.text import CharTokenizer, train_tokenizer
from lm_keras.text.word import WordTokenizer
from lm_keras.training.building import network
from lm_keras.training.initial_embedding import InitialEmbedding, names_of
from lm_keras.training.trainer import Trainer

WIDTH = 8
FAMILIES = {
    "lstm": {}, "ngram": {"ngram_order": 3},
    "gpt": {"num_heads": 2, "hidden_units": None}, "bert": {"num_heads": 2, "hidden_units": None},
}  # fmt: skip
LETTERS = "aeT"


@pytest.fixture
def vectors(tmp_path):
    """A file with the letters a, e and T, and with words that no character is."""
    table = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    write_vectors(tmp_path / "v.txt", ["cat", "a", "e", "dog", "T"], table)
    return tmp_path / "v.txt", dict(zip(LETTERS, table[[1, 2, 4]]))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embedding_of_each_family(family, tiny_config, vectors):
    path, expected = vectors
    tokenizer = CharTokenizer("aTbecd ", "none").with_mask()
    config = tiny_config(
        model=family, embedding_dim=WIDTH, steps=2, embedding_init=str(path), **FAMILIES[family]
    )
    model, drawn = (network(config, tokenizer.vocab_size) for _ in range(2))
    InitialEmbedding.of(config, None, tokenizer).copy_to(model)
    given = {tokenizer.encode(letter)[0]: vector for letter, vector in expected.items()}
    for variable, usual in zip(model.trainable_variables, drawn.trainable_variables, strict=True):
        if variable is not model.embedding.embeddings:
            np.testing.assert_array_equal(variable, usual)
    begun, usual = (each.embedding.embeddings.numpy() for each in (model, drawn))
    for token in range(tokenizer.vocab_size):
        np.testing.assert_array_equal(begun[token], given.get(token, usual[token]))
        assert (token in given) is not np.array_equal(begun[token], usual[token])  # The control.


def test_a_run_begins_with_them_and_goes_on_without(tiny_config, train, tmp_path, vectors, monkeypatch):
    """With two replicas, where the table is in two places."""
    path, expected = vectors
    seen, original = [], Trainer.train

    def recorded(self, *args):
        seen.append((self.step, self.model.embedding.embeddings.numpy()))
        return original(self, *args)

    monkeypatch.setattr(Trainer, "train", recorded)
    settings = {
        "model": "ngram", "ngram_order": 3, "embedding_dim": WIDTH, "embedding_init": str(path),
        "replicas": 2, "eval_every": 99,
        "split": "100/0/0",
    }  # fmt: skip
    ended = train(tiny_config(**settings, steps=2), tmp_path / "run")
    tokenizer = RunFolder(tmp_path / "run").tokenizer()
    assert f"beginning with the vectors of {path} for 3 of {tokenizer.vocab_size} tokens\n" in ended.err
    path.write_text("damaged")
    ended = train(tiny_config(**settings, steps=4), tmp_path / "run")
    assert ended.code == 0 and "going on from step 2 of 4\n" in ended.err and "vectors" not in ended.err
    assert [step for step, _ in seen] == [0, 2]
    ids = [tokenizer.encode(letter)[0] for letter in LETTERS]
    begun, later = (table[ids] for _, table in seen)
    np.testing.assert_array_equal(begun, np.stack([*expected.values()]))
    assert not np.array_equal(begun, later)
    with pytest.raises(InputError, match=re.escape(f"--embedding_init: {path} in the run, None now")):
        train(tiny_config(**{**settings, "embedding_init": None}, steps=8), tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a 1 2 3\n", "--embedding_init=PATH, line 1: vectors of 3 numbers, and --embedding_dim=8; take "
            "--embedding_dim=3, or"),
        ("", "PATH is empty"),
        ("a 1 2 3 4 5 6 7 8\na 1 2 3 4 5 6 7 8\n", "PATH, line 2: 'a' has a vector in line 1 already"),
        ("a 1 2 3 4 5 6 7 inf\n", "PATH, line 1: 'inf' of 'a' is not a finite float32"),
        ("a 1 2 3 4 5 6 7 8\ncat 1 2\n", "PATH, line 2: 'cat 1 2' has 2 numbers, expected 8"),
        ("cat 1 2 3 4 5 6 7 8\n", "--embedding_init=PATH has none of the 30 tokens of the vocabulary; "
            "expected words as the char"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line_and_begin_no_run(tiny_config, train, tmp_path, content, problem):
    path = tmp_path / "v.txt"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        train(tiny_config(embedding_dim=WIDTH, embedding_init=str(path)), tmp_path / "run")
    assert str(caught.value).replace(str(path), "PATH").startswith(problem)
    assert not (tmp_path / "run").exists()


def test_with_the_weights_of_a_run_it_has_no_meaning(tiny_config):
    with pytest.raises(InputError, match=r"^--init_from and --embedding_init contradict each other"):
        tiny_config(init_from="runs/other", embedding_init="v.txt")


def test_pieces_are_found_with_and_without_their_blank(tiny_config, tmp_path, english):
    tokenizer = train_tokenizer("sentencepiece", [english], vocab_size=330, normalization="none")
    (piece,) = (i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b" cat")
    config = tiny_config(embedding_dim=2, embedding_init=str(tmp_path / "v.txt"))
    for words, first in (("cat 1 1\n▁cat 2 2\n", 2), ("▁cat 2 2\ncat 1 1\n", 2), ("cat 1 1\n", 1)):
        (tmp_path / "v.txt").write_text(words)
        given = InitialEmbedding.of(config, None, tokenizer)
        assert given.vectors[given.ids.tolist().index(piece)].tolist() == [first, first]


def test_a_byte_order_mark_in_the_middle_hides_no_word(tiny_config, tmp_path):
    """As in files that were put together; a word without a mark comes first."""
    config = tiny_config(embedding_dim=2, embedding_init=str(tmp_path / "v.txt"))
    for words, first in (
        ("\ufeffe 1 1\n\ufeffa 2 2\n", 2),
        ("a 3 3\n\ufeffa 2 2\n", 3),
        ("\ufeffe 1 1\n\ufeffa 2 2\na 3 3\n", 3),
    ):
        (tmp_path / "v.txt").write_text(words)
        given = InitialEmbedding.of(
            config, None, train_tokenizer("char", ["ae"], vocab_size=None, normalization="none")
        )
        assert given.vectors[0].tolist() == [first, first]


def test_a_dry_run_that_does_not_know_the_words_yet_reads_the_first_line(tiny_config, vectors):
    path, _ = vectors
    given = InitialEmbedding.of(tiny_config(embedding_dim=WIDTH, embedding_init=str(path)), None, None)
    assert given.description == f"with the vectors of {path}"


def test_what_is_no_word_has_no_name():
    words = WordTokenizer(["cat", "<eos>"], "none").with_mask()
    assert names_of(words) == {b"cat": [(0, 3)], b"<eos>": [(0, 4)]}
