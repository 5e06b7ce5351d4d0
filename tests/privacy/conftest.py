"""A text of many short documents, and settings of private runs of a few seconds."""

import json

import pytest
from silent import Silent

from lm_keras.training import run as training_run

PRIVATE = {
    "tokenizer": "byte", "dp_noise": 1.0, "dp_delta": 1e-4, "text_field": "text", "learning_rate": 0.01,
    "sample_every": 10**6, "eval_every": 10**6, "jit": "off",
}  # fmt: skip
FAMILIES = {
    "lstm": {"model": "lstm"},
    "ngram": {"model": "ngram"},
    "gpt": {"model": "gpt", "embedding_dim": 8, "num_heads": 2},
    "bert": {"model": "bert", "embedding_dim": 8, "num_heads": 2, "sequence_length": 14},
    "glm": {"model": "glm", "embedding_dim": 8, "num_heads": 2, "sequence_length": 14},
}
"""By their names: settings of small networks."""


@pytest.fixture(autouse=True)
def nothing_is_sampled(monkeypatch):
    """Runs generate no text, for which a sampler would be traced."""

    monkeypatch.setattr(training_run, "answer_for", Silent)


@pytest.fixture(scope="session")
def documents(tmp_path_factory, english):
    """A file with a document a line, 300 of them."""
    path = tmp_path_factory.mktemp("documents") / "documents.jsonl"
    lines = [json.dumps({"text": line}) + "\n" for line in english.splitlines()]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="session")
def private_config(tiny_config, documents):
    """A function from settings to the `Config` of a private run."""

    def make(family="lstm", **settings):
        return tiny_config(**{"corpus": f"jsonl:{documents}", **PRIVATE, **FAMILIES[family], **settings})

    return make
