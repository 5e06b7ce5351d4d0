"""Whole runs of seq2seq: the digit that a text names."""

import numpy as np
import pytest
from opt_in import others_slow, slow

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder

COLOURS = ["red", "green", "blue", "white"]
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SETTINGS = {
    "task": "seq2seq", "tokenizer": "word", "sequence_length": 16, "batch_size": 6, "split": "100/0/0",
    "num_heads": 2, "embedding_dim": 16, "hidden_units": None, "learning_rate": 0.01, "dropout": 0.1,
    "header": "yes",
}  # fmt: skip
FAMILIES = {
    "transformer": {"model": "transformer", "positions": "sinusoidal"},
    "lstm": {"model": "lstm", "hidden_units": 16, "num_heads": 4},
    "gpt": {"model": "gpt", "positions": "rotary"},
    "glm": {"model": "glm", "learning_rate": 0.003},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two files of 240 and 40 pairs such as `red seven` and `7`, by split."""
    folder, found = tmp_path_factory.mktemp("pairs"), {}
    for split, count in (("train", 240), ("valid", 40)):
        lines = [f"{COLOURS[n % 4]} {NAMES[n * 7 % 10]}\t{n * 7 % 10}" for n in range(count)]
        (folder / f"{split}.tsv").write_text("\n".join(["source\ttarget", *lines]) + "\n")
        found[split] = f"tsv:{folder}/{split}.tsv"
    return found


@pytest.fixture(scope="module")
def config_for(corpus, tiny_config):
    def make(family="transformer", **settings):
        return tiny_config(**{**SETTINGS, **FAMILIES[family], "corpus": corpus["train"], **settings})

    return make


def weights_of(path):
    return [variable.numpy() for variable in lm_keras.load(path).model.trainable_variables]


def losses(path, lines_of):
    lines = [line for line in lines_of(path / "metrics.jsonl") if line.get("split") == "valid"]
    return [line["nats_per_token"] for line in lines]


@pytest.mark.parametrize("family", others_slow(FAMILIES, ["transformer", "glm"]))
def test_a_run_learns(family, corpus, config_for, train, tmp_path, lines_of):
    """A model that guesses digits and knows where a target ends needs 0.77 nats a token, and an end is a
    space and the token.
    """
    targets = {"eval_pairs": 4, "eval_beams": 2} if family == "transformer" else {"eval_pairs": 0}
    scored = {"valid_corpus": corpus["valid"], "eval_every": 160, **targets}
    larger = {"embedding_dim": 32, "dropout": 0.0}
    ended = train(config_for(family, **larger, **scored, steps=160), tmp_path / "run")
    assert ended.code == 0, ended.err
    found = losses(tmp_path / "run", lines_of)
    assert found[-1] < 0.5
    results = RunFolder(tmp_path / "run").results["splits"]
    assert lm_keras.load(tmp_path / "run").evaluate("valid")["nats_per_token"] == pytest.approx(
        results["valid"]["nats_per_token"]
    )


UNSCORED = {"steps": 8, "checkpoint_every": 3}
"""A short run that scores nothing."""


@pytest.fixture(scope="module")
def whole(config_for, train, tmp_path_factory):
    """A function that carries out such a run of a family, once, and returns its folder."""
    folder = tmp_path_factory.mktemp("whole")

    def path_of(family):
        path = folder / family
        if not path.exists():
            assert train(config_for(family, **UNSCORED), path).code == 0
        return path

    return path_of


@pytest.mark.parametrize("family", ["lstm", "glm"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(family, whole, config_for, train, killed, tmp_path):
    """Rows with an encoder and without."""
    config = config_for(family, **UNSCORED)
    killed(config, tmp_path / "parts", 4)
    ended = train(config, tmp_path / "parts")
    assert "going on from step 3" in ended.err
    assert all(map(np.array_equal, weights_of(whole(family)), weights_of(tmp_path / "parts")))


@pytest.mark.parametrize("family", others_slow(FAMILIES, ["transformer", "lstm", "glm"]))
def test_replicas_and_micro_batches_change_nothing(family, whole, config_for, train, tmp_path):
    """Law 2, dropout included. Only rounding moves the biases of keys: the same number added to all scores
    of a query changes nothing.
    """
    split = config_for(family, **UNSCORED, replicas=2, micro_batches=3)
    assert train(split, tmp_path / "split").code == 0
    names = [variable.path for variable in lm_keras.load(tmp_path / "split").model.trainable_variables]
    for name, one, other in zip(names, weights_of(whole(family)), weights_of(tmp_path / "split")):
        np.testing.assert_allclose(one, other, 1e-4, 2e-4 if name.endswith("key_value_bias") else 2e-5)


def test_another_seed_changes_the_weights(whole, config_for, train, tmp_path):
    """The control of the comparisons above."""
    assert train(config_for("lstm", **UNSCORED, seed=2), tmp_path / "other").code == 0
    pairs = zip(weights_of(whole("lstm")), weights_of(tmp_path / "other"))
    assert any(np.abs(one - other).max() > 1e-2 for one, other in pairs)


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_a_run_begins_with_another_one(family, whole, config_for, train, tmp_path):
    origin = {"init_from": str(whole(family)), "learning_rate": 1e-9}
    ended = train(config_for(family, **{**UNSCORED, **origin, "steps": 1}), tmp_path / "second")
    assert ended.code == 0 and "are new" not in ended.err
    pairs = zip(weights_of(whole(family)), weights_of(tmp_path / "second"))
    assert all(np.allclose(one, other, atol=1e-6) for one, other in pairs)


def test_a_gpt_begins_with_a_language_model(config_for, tiny_config, train, tmp_path):
    text = tmp_path / "text.txt"
    words = " ".join([*COLOURS, *NAMES, *map(str, range(10))])
    text.write_text(f"{words}\n" * 20)
    own = {name: value for name, value in SETTINGS.items() if name not in ("task", "header")}
    first = tiny_config(**{**own, **FAMILIES["gpt"], "corpus": f"text:{text}", "steps": 1, "jit": "off"})
    assert train(first, tmp_path / "first").code == 0
    origin = {"init_from": str(tmp_path / "first"), "steps": 1, "jit": "off"}
    ended = train(config_for("gpt", **{**UNSCORED, **origin}), tmp_path / "second")
    assert ended.code == 0, ended.err
    assert "beginning with the weights of" in ended.err and "are new" not in ended.err


@pytest.mark.parametrize("family", ["transformer", *slow("glm")])
def test_a_dry_run(family, quick, config_for, train):
    ended = train(config_for(family, **UNSCORED), None, dry_run=True)
    assert ended.code == 0 and "parameters" in ended.out


def test_settings_without_a_meaning(config_for):
    for settings, message in (
        ({"family": "gpt", "encoder_layers": 2}, "--encoder_layers=2 has no meaning for --model=gpt"),
        ({"family": "lstm", "post_norm": True}, "--post_norm=True has no meaning for --model=lstm"),
        (
            {"family": "gpt", "positions": "sinusoidal"},
            "--positions=sinusoidal has no meaning for --model=gpt",
        ),
        ({"embedding_dim": 15, "num_heads": 3}, "--embedding_dim=15 is odd"),
        ({"rematerialize": True}, "--rematerialize=True has no meaning for --model=transformer"),
    ):
        with pytest.raises(lm_keras.InputError, match=message):
            config_for(**settings)
