"""Whole runs of chat: a letter that has to be said twice."""

import json

import numpy as np
import pytest
from opt_in import slow

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.report import answers
from lm_keras.report.runs import read_runs

SETTINGS = {
    "task": "chat", "tokenizer": "char", "sequence_length": 96, "batch_size": 6, "split": "80/10/10",
    "embedding_dim": 16, "hidden_units": 24, "learning_rate": 0.01, "eval_answers": 4, "projector": False,
}  # fmt: skip
FAMILIES = {
    "gpt": {"model": "gpt", "num_heads": 2, "positions": "rotary"},
    "lstm": {"model": "lstm", "dropout": 0.1, "hidden_units": 32, "learning_rate": 0.02},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """120 conversations of one or two questions."""
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    with path.open("w") as file:
        for number in range(120):
            messages = []
            for question in range(1 + number % 2):
                letter = "AB"[(number // 3 + question) % 2]
                messages += [{"role": "user", "content": f"{number} {letter}"}]
                messages += [{"role": "assistant", "content": letter * 2}]
            file.write(json.dumps({"messages": messages}) + "\n")
    return f"jsonl:{path}"


@pytest.fixture(scope="module")
def config_for(corpus, tiny_config):
    def make(family="gpt", **settings):
        return tiny_config(**{**SETTINGS, **FAMILIES[family], "corpus": corpus, **settings})

    return make


def weights_of(path):
    return [variable.numpy() for variable in lm_keras.load(path).model.trainable_variables]


@pytest.mark.parametrize(
    ("family", "steps", "most_nats", "gap"), [("gpt", 100, 0.15, 0.1), ("lstm", 200, 0.25, -0.1)]
)
def test_a_run_learns_to_answer_and_to_end(
    family, steps, most_nats, gap, config_for, train, tmp_path, lines_of
):
    """Without the question two letters and an end need 0.23 nats a token, without the letter before 0.46. So
    few steps do not teach an LSTM to remember the question.
    """
    path = tmp_path / "run"
    ended = train(config_for(family, steps=steps, eval_every=steps, dropout=0.0), path)
    assert ended.code == 0, ended.err
    lines = [line for line in lines_of(path / "metrics.jsonl") if line.get("split") == "valid"]
    assert lines[-1]["nats_per_token"] < most_nats and lines[-1]["ended"] == 1.0
    results = RunFolder(path).results["splits"]["test"]
    assert results["baselines"]["shuffled_questions"]["nats_per_token"] > results["nats_per_token"] + gap
    assert "test, shuffled questions" in ended.out and "--chat" in ended.err
    predictions = lines_of(path / "predictions" / "test.jsonl")
    assert len(predictions) == 4 and all(line["ended"] for line in predictions)
    assert predictions[0]["messages"][-1]["role"] == "user" and len(predictions[0]["reference"]) == 2
    found = lm_keras.load(path).evaluate("test")
    assert found["nats_per_token"] == pytest.approx(results["nats_per_token"]) and found["ended"] == 1.0
    page = "".join(answers.sections(read_runs([str(path)])))
    assert "shuffled questions" in page and "user: " in page and "evenly spaced" in page
    template = (path / "tokenizer" / "chat_template.jinja").read_text()
    assert "<|im_start|>" in template


def test_a_run_without_answers_says_so_once_for_each_split(config_for, train, tmp_path):
    """A row of 36 tokens holds a conversation, and leaves an answer fewer than 16."""
    config = config_for(sequence_length=36, steps=2, eval_every=1)
    ended = train(config, tmp_path / "run")
    assert ended.code == 0
    told = "no answers are generated, of 4 conversations none leaves 16 of the 36 tokens of the context"
    assert [ended.err.count(f"{split}: {told}") for split in ("valid", "test")] == [1, 1]
    assert not (tmp_path / "run" / "predictions").exists()
    assert "Talk to it with `scripts/sample.py --chat`" in (tmp_path / "run" / "README.md").read_text()


UNSCORED = {"steps": 10, "checkpoint_every": 5, "split": "100/0/0"}
"""A short run that scores nothing."""


@pytest.fixture(scope="module")
def whole(config_for, train, tmp_path_factory):
    """The folder of such a run, with dropout and a state."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert train(config_for("lstm", **UNSCORED), path).code == 0
    return path


def test_a_run_that_was_stopped_goes_on_bit_for_bit(whole, config_for, train, killed, tmp_path):
    """Law 3, with dropout and a state."""
    config = config_for("lstm", **UNSCORED)
    killed(config, tmp_path / "parts", 6)
    ended = train(config, tmp_path / "parts")
    assert "going on from step 5" in ended.err
    assert all(map(np.array_equal, weights_of(whole), weights_of(tmp_path / "parts")))


def test_replicas_and_micro_batches_change_nothing(whole, config_for, train, tmp_path):
    """Law 2, dropout included; another seed changes the weights."""
    found, expected = {}, weights_of(whole)
    for name, split in {"split": {"replicas": 2, "micro_batches": 3}, "other": {"seed": 2}}.items():
        assert train(config_for("lstm", **UNSCORED, **split), tmp_path / name).code == 0
        found[name] = weights_of(tmp_path / name)
    for one, other in zip(expected, found["split"], strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 2e-5)
    assert any(np.abs(one - other).max() > 1e-2 for one, other in zip(expected, found["other"]))


@pytest.mark.parametrize("family", ["lstm", *slow("gpt")])
def test_a_chat_begins_with_a_language_model(family, config_for, tiny_config, train, tmp_path):
    """The rows of its vocabulary come over, in the embedding and in the output, and two tokens are new."""
    text = tmp_path / "text.txt"
    text.write_text("user\nAB 0123456789\nassistant\n" * 40)
    own = {name: value for name, value in SETTINGS.items() if name not in ("task", "eval_answers")}
    first = tiny_config(
        **{**own, **FAMILIES[family], "corpus": f"text:{text}", "steps": 2, "split": "100/0/0"}
    )
    assert train(first, tmp_path / "first").code == 0
    config = config_for(
        family, steps=1, learning_rate=1e-9, split="100/0/0", init_from=str(tmp_path / "first")
    )
    ended = train(config, tmp_path / "second")
    assert ended.code == 0 and "; 2 added tokens are new" in ended.err and "of the head" not in ended.err
    for one, other in zip(*(weights_of(tmp_path / name) for name in ("first", "second"))):
        same = tuple(map(slice, one.shape))
        np.testing.assert_allclose(other[same], one, atol=1e-6)


def test_a_dry_run(quick, config_for, train):
    ended = train(config_for(), None, dry_run=True)
    assert ended.code == 0 and "parameters" in ended.out
