"""A trained model in Python: what a run folder gives, and nothing but it."""

import json
import math
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import lm_keras
from lm_keras import InputError
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.training import machine


@pytest.fixture(scope="module")
def lm(finished):
    return lm_keras.load(finished.path)


def part_of(text, first, last):
    """The lines of a text that start in a part of its bytes, as a single document is split."""
    starts = np.cumsum([0, *map(len, text.splitlines(keepends=True))])
    begin, end = (starts[np.searchsorted(starts, share * len(text))] for share in (first, last))
    return text[begin:end]


def test_importing_the_package_is_cheap():
    code = (
        "import sys, time; began = time.perf_counter(); import lm_keras; lm_keras.InputError;"
        " print(time.perf_counter() - began, *sorted({'tensorflow', 'keras', 'numpy', 'absl'} &"
        " set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    seconds, *modules = run.stdout.split()
    assert float(seconds) < 1
    assert modules == []
    assert run.stderr == ""


def test_what_the_package_offers():
    assert set(lm_keras.__all__) == {"InputError", "TrainedModel", "load", "train"}
    assert lm_keras.TrainedModel.__name__ == "TrainedModel"
    assert issubclass(lm_keras.InputError, ValueError)
    with pytest.raises(AttributeError, match="module 'lm_keras' has no attribute 'lod'"):
        _ = lm_keras.lod


def test_load(lm, finished):
    assert isinstance(lm.model, keras.Model)
    assert lm.config == machine.with_jit(finished.config)
    assert lm.step == 24
    assert lm.tokenizer.decode(lm.tokenizer.encode("The old cat.")) == "The old cat."
    assert (
        lm_keras.load(str(finished.path), checkpoint="best").step
        == RunFolder(finished.path).checkpoints().best()
    )


def test_nothing_but_the_folder_is_needed(lm, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.path, tmp_path / "elsewhere")
    settings = (tmp_path / "elsewhere" / "config.json").read_text()
    (tmp_path / "elsewhere" / "config.json").write_text(settings.replace("english.txt", "gone.txt"))
    monkeypatch.setenv("LM_KERAS_CACHE", str(tmp_path / "no cache"))
    monkeypatch.chdir(tmp_path)
    other = lm_keras.load("elsewhere")
    assert other.generate(["The "], max_new_tokens=9, seed=3) == lm.generate(
        ["The "], max_new_tokens=9, seed=3
    )
    assert other.score(["The cat."]) == lm.score(["The cat."])
    assert not (tmp_path / "no cache").exists()
    with pytest.raises(InputError, match=r"no file .*gone\.txt"):
        other.evaluate("valid")


def test_generate(lm):
    texts = lm.generate(["The ", ""], max_new_tokens=13, temperature=0.8, top_k=0, top_p=1.0, seed=1)
    assert len(texts) == 2
    assert all(isinstance(text, str) and len(text) <= 13 for text in texts)
    assert texts == lm.generate(["The ", ""], max_new_tokens=13, temperature=0.8, seed=1)
    assert texts != lm.generate(["The ", ""], max_new_tokens=13, temperature=0.8, seed=2)
    assert "".join(lm.stream("The ", max_new_tokens=13, temperature=0.8, seed=1)) == texts[0]
    assert lm.generate(["The "], max_new_tokens=13, top_k=1) == lm.generate(
        ["The "], max_new_tokens=13, temperature=0
    )
    assert lm.unknown_parts("The €5 £") == ["€", "5", "£"]
    with pytest.raises(InputError, match="temperature"):
        lm.generate(["The "], temperature=-1.0)


def test_logits_and_features(lm):
    ids = np.array([lm.tokenizer.encode(text) for text in ("The old", "That re")])
    logits, features = lm.logits(ids), lm.features(ids.tolist())
    assert logits.shape == (2, 7, lm.tokenizer.vocab_size)
    assert features.shape == (2, 7, 13)
    assert logits.dtype == features.dtype == np.float32
    np.testing.assert_allclose(logits, lm.model(ids), atol=1e-5)
    np.testing.assert_allclose(lm.model.project(tf.constant(features)), logits, atol=1e-5)


def test_score(lm):
    (score,) = lm.score(["The cat."])
    ids = [lm.tokenizer.eod_id, *lm.tokenizer.encode("The cat.")]
    likelihoods = tf.nn.log_softmax(lm.logits([ids[:-1]]))[0].numpy()
    assert score["nats"] == pytest.approx(-likelihoods[np.arange(8), ids[1:]].sum(), rel=1e-5)
    assert (score["tokens"], score["bytes"]) == (8, 8)


def test_evaluate_gives_what_training_reported(lm, finished):
    results = RunFolder(finished.path).results
    for split in ("valid", "test"):
        assert lm.evaluate(split) == results["splits"][split]
    train = lm.evaluate("train")
    assert train["tokens"] > 8000
    assert 0.5 < train["nats_per_token"] / results["splits"]["valid"]["nats_per_token"] < 1.5


def test_a_split_scores_what_its_text_scores(lm, english):
    """Law 7, from the outside: the nats of a split are those of its text."""
    for split, first, last in [("valid", 0.9, 0.95), ("test", 0.95, 1)]:
        result, (score,) = lm.evaluate(split), lm.score([part_of(english, first, last)])
        assert (result["tokens"], result["bytes"]) == (score["tokens"], score["bytes"])
        assert result["nats_per_token"] * result["tokens"] == pytest.approx(score["nats"], rel=1e-5)
        assert result["bits_per_byte"] == pytest.approx(
            score["nats"] / math.log(2) / score["bytes"], rel=1e-5
        )
    assert lm.score([english[:400]])[0]["nats"] != pytest.approx(score["nats"], rel=1e-3)


def test_evaluate_other_text(lm, tmp_path):
    (tmp_path / "other.txt").write_text("The cat.\n" * 3)
    said = []
    result = lm.evaluate(corpus=f"text:{tmp_path}/other.txt", say=said.append)
    assert said == [f"tokenizing text:{tmp_path}/other.txt: 1 documents, 27 bytes"]
    assert (result["tokens"], result["words"], result["split"]) == (27, 9, f"text:{tmp_path}/other.txt")
    assert result["nats_per_token"] * 27 == pytest.approx(lm.score(["The cat.\n" * 3])[0]["nats"], rel=1e-5)


def test_lost_text_is_null_and_counted(lm, tmp_path):
    (tmp_path / "other.txt").write_text("The € cat.\n" * 3)
    result = lm.evaluate(corpus=f"text:{tmp_path}/other.txt")
    assert (result["unknown"], result["tokens"], result["bytes"]) == (3, 33, 39)
    assert [result[name] for name in ("word_perplexity", "bits_per_byte", "bits_per_character")] == [None] * 3
    assert result["perplexity"] > 1


def test_evaluate_in_windows(lm):
    whole, windows = lm.evaluate("valid"), lm.evaluate("valid", stride=4)
    assert (windows["context"], windows["stride"], windows["tokens"]) == (11, 4, whole["tokens"])
    assert windows["nats_per_token"] != whole["nats_per_token"]
    for stride in (0, 12):
        with pytest.raises(InputError) as caught:
            lm.evaluate("valid", stride=stride)
        assert (
            str(caught.value)
            == f"stride={stride}: expected 1 to 11, the most tokens that the model sees at once"
        )


def test_which_checkpoint(finished):
    with pytest.raises(InputError) as caught:
        lm_keras.load(finished.path, checkpoint="newest")
    assert str(caught.value) == "checkpoint='newest' is unknown; choose last or best"


def test_the_best_weights_are_kept_when_no_checkpoint_is_due(tiny_config, train, tmp_path):
    """At a learning rate that grows the loss is lowest early, at a step between the checkpoints of
    12 and 24.
    """
    config = tiny_config(
        eval_every=2, checkpoint_every=12, keep_checkpoints=1, learning_rate=1.0, optimizer="sgd",
        clip_norm=0,
        learning_rate_schedule="linear:initial=0.1,final=60",
    )  # fmt: skip
    train(config, tmp_path / "run")
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().split("\n") if line
    ]
    losses = {line["step"]: line["nats_per_token"] for line in lines if "split" in line}
    best = min(losses, key=losses.get)
    assert best % 12
    assert lm_keras.load(tmp_path / "run", checkpoint="best").step == best
    assert lm_keras.load(tmp_path / "run").step == 24
