"""A classifier, a tagger and a translator that were trained for seconds."""

import random
from pathlib import Path
from typing import NamedTuple

import pytest

import lm_keras

ANIMALS = ["cat", "dog", "bird", "fish"]
DIGITS = {"1": "one", "2": "two", "3": "three", "4": "four", "5": "five"}
NAMES = ["Ada", "Bob", "Eve Marie", "Tom"]


class Trained(NamedTuple):
    """A finished run and its model."""

    path: Path
    lm: object
    err: str


def texts(count, seed):
    """Sentences, and the class of each: whether its first animal is a cat or a dog, or not."""
    pick = random.Random(seed)
    found = []
    for _ in range(count):
        animal = pick.choice(ANIMALS)
        words = [pick.choice(["the", "a"]), animal, *pick.choices(["sees", "likes", "old", "tree"], k=3)]
        found.append((" ".join(words[: pick.randint(2, 5)]), "pet" if animal in ANIMALS[:2] else "wild"))
    return found


def tagged(count, seed):
    """Sentences of words and tags: names are persons."""
    pick = random.Random(seed)
    found = []
    for _ in range(count):
        name = pick.choice(NAMES).split()
        rest = [pick.choice(["sees", "likes"]), "the", pick.choice(ANIMALS)]
        tags = ["B-person", *["I-person"] * (len(name) - 1), *["O"] * 3]
        found.append(list(zip([*name, *rest], tags)))
    return found


def pairs(count, seed):
    """Digits, and the same in words."""
    pick = random.Random(seed)
    found = [pick.choices(list(DIGITS), k=pick.randint(1, 4)) for _ in range(count)]
    return [(" ".join(digits), " ".join(DIGITS[digit] for digit in digits)) for digits in found]


def table(rows):
    return "".join(f"{text}\t{label}\n" for text, label in rows)


def conll(sentences):
    return "".join("".join(f"{word}\t{tag}\n" for word, tag in one) + "\n" for one in sentences)


def _trained(folder, tiny_config, train, content, scheme, **settings):
    for seed, part in enumerate(("train", "valid", "test")):
        (folder / f"{part}.{scheme}").write_text(content(200 if part == "train" else 40, seed))
    corpora = {
        "corpus": f"{scheme}:{folder}/train.{scheme}",
        "valid_corpus": f"{scheme}:{folder}/valid.{scheme}",
        "test_corpus": f"{scheme}:{folder}/test.{scheme}",
    }
    usual = {
        "tokenizer": "word", "model": "lstm", "sequence_length": 16, "batch_size": 8, "steps": 80,
        "eval_every": 40, "learning_rate": 0.02, "embedding_dim": 12,
    }  # fmt: skip
    config = tiny_config(**{**corpora, **usual, **settings})
    ended = train(config, folder / "run")
    assert ended.code == 0, ended.err
    return Trained(folder / "run", lm_keras.load(folder / "run"), ended.err)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, tiny_config, train):
    folder = tmp_path_factory.mktemp("classifier")
    return _trained(folder, tiny_config, train, lambda *how: table(texts(*how)), "tsv", task="classification")


@pytest.fixture(scope="session")
def tagger(tmp_path_factory, tiny_config, train):
    folder = tmp_path_factory.mktemp("tagger")
    return _trained(folder, tiny_config, train, lambda *how: conll(tagged(*how)), "conll", task="tagging")


@pytest.fixture(scope="session")
def translator(tmp_path_factory, tiny_config, train):
    folder = tmp_path_factory.mktemp("translator")
    settings = {"model": "transformer", "positions": "sinusoidal", "num_heads": 2, "embedding_dim": 32}
    settings |= {"learning_rate": 0.005, "steps": 500, "hidden_units": 64, "batch_size": 16, "beta_2": 0.98}
    settings |= {"eval_every": 250, "eval_pairs": 8, "label_smoothing": 0.0, "steps_per_call": 50}
    content = lambda *how: table(pairs(*how))  # noqa: E731
    return _trained(folder, tiny_config, train, content, "tsv", task="seq2seq", **settings)
