"""Whole runs on several corpora: mixed by weight, and pairs of two target languages."""

import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.errors import InputError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ZIFFERN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
KINDS = {
    "streams": {"batching": "stream", "state_reset": 0.1},
    "windows": {"batching": "window", "dropout": 0.1},
}
"""Rows of a run on two texts, whose network does not matter: it is `small`."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, tiny_config):
    """Returns a function that makes the settings of a run on two texts."""
    folder = tmp_path_factory.mktemp("mixed")
    for name, word in (("ups", "up"), ("downs", "down")):
        lines = (f'{{"text": "{word} and {word} {n}"}}\n' for n in range(90))
        (folder / f"{name}.jsonl").write_text("".join(lines))

    def make(kind, **settings):
        corpus = f"text:{folder}/ups.jsonl text:{folder}/downs.jsonl"
        short = {"split": "100/0/0", "steps": 8, "checkpoint_every": 3}
        return tiny_config(corpus=corpus, corpus_weights="3,1", **short, **KINDS[kind], **settings)

    return make


@pytest.fixture(scope="module")
def two_languages(tmp_path_factory, tiny_config):
    """Returns a function that makes the settings of a run on numbers in two languages."""
    folder = tmp_path_factory.mktemp("languages")
    for name, words in (("en", DIGITS), ("de", ZIFFERN)):
        rows = (f"{n}\t{' '.join(words[int(digit)] for digit in str(n))}\n" for n in range(10, 200))
        (folder / f"{name}.tsv").write_text("".join(rows))

    def make(**settings):
        usual = {
            "corpus": f"tsv:{folder}/en.tsv tsv:{folder}/de.tsv", "target_languages": "en,de",
            "task": "seq2seq", "model": "transformer", "num_heads": 2, "embedding_dim": 32,
            "hidden_units": None, "sequence_length": 48, "batch_size": 6, "steps": 300,
            "eval_every": 300, "eval_pairs": 0, "eval_beams": 1,
            "header": "no", "learning_rate": 0.01, "split": "80/10/10",
        }  # fmt: skip
        return tiny_config(**{**usual, **settings})

    return make, folder


def weights_of(path):
    return [variable.numpy() for variable in lm_keras.load(path).model.trainable_variables]


@pytest.fixture(scope="module")
def whole(mixed, train, small_network, tmp_path_factory):
    """A function that carries out a run of a kind, once, and returns its folder."""
    folder = tmp_path_factory.mktemp("whole")

    def path_of(kind):
        path = folder / kind
        if not path.exists():
            with small_network():
                assert train(mixed(kind), path).code == 0
        return path

    return path_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_run_that_was_stopped_goes_on(kind, small, whole, mixed, train, killed, tmp_path):
    """Bit for bit."""
    killed(mixed(kind), tmp_path / "parts", 4)
    assert "going on from step 3" in train(mixed(kind), tmp_path / "parts").err
    assert all(map(np.array_equal, weights_of(whole(kind)), weights_of(tmp_path / "parts")))


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_and_micro_batches_change_nothing(kind, small, whole, mixed, train, tmp_path):
    assert train(mixed(kind, replicas=2, micro_batches=3), tmp_path / "split").code == 0
    for one, other in zip(weights_of(whole(kind)), weights_of(tmp_path / "split")):
        np.testing.assert_allclose(one, other, 1e-4, 1e-5)


def test_weights_decide_what_is_learnt_and_stay(small, whole, mixed, train, tmp_path):
    other = from_flat({**mixed("windows").flat(), "corpus_weights": "1,1"})
    assert train(other, tmp_path / "other").code == 0
    assert not all(map(np.array_equal, weights_of(whole("windows")), weights_of(tmp_path / "other")))
    with pytest.raises(InputError, match="--corpus_weights: 3,1 in the run, 1,1 now"):
        train(other, whole("windows"))


def test_one_network_writes_two_languages(two_languages, train, tmp_path):
    make, folder = two_languages
    ended = train(make(), tmp_path / "run")
    assert ended.code == 0, ended.err
    lm = lm_keras.load(tmp_path / "run")
    assert lm.tokenizer.languages == ("de", "en")
    sources = ["42", "137"]
    english = lm.translate(sources, target_language="en")
    german = lm.translate(sources, target_language="de")
    assert english != german and all(english) and all(german)
    with pytest.raises(InputError, match="expected one of de, en"):
        lm.translate(sources)
    right = lm.evaluate(corpus=f"tsv:{folder}/de.tsv", target_languages="de")["nats_per_token"]
    wrong = lm.evaluate(corpus=f"tsv:{folder}/de.tsv", target_languages="en")["nats_per_token"]
    assert right < wrong - 0.3
    with pytest.raises(InputError, match="names 2 languages for 1 corpus"):
        lm.evaluate(corpus=f"tsv:{folder}/de.tsv")
    assert RunFolder(tmp_path / "run").config().data.target_languages == "en,de"
