"""Run folders as a report finds them, without the runs."""

import json
import math

import pytest

from lm_keras.config import from_flat

SPLIT = {
    "corpus": "text:a.txt", "licence": None, "rule": "90/5/5", "corpus_sha256": "c" * 64,
    "fingerprint": "f" * 64,
    "tokens": 9000, "bytes": 20000, "words": 4000, "characters": 20000, "documents": 3, "unknown": 0,
}  # fmt: skip


def training_lines(steps, offset=0.0):
    """Lines with other numbers in each field and step."""
    for step in steps:
        loss = 2 + 3 / step + 0.1 * math.sin(step) + offset
        yield {
            "step": step, "loss": loss, "perplexity": math.exp(loss), "bits_per_byte": loss / 1.9,
            "learning_rate": 0.01 / step, "dropout": step / 1000, "gradient_norm": 1 + 1 / step + offset,
            "tokens_per_second": None if step == 10 else 20000 + 7 * step, "seconds": 0.5 * step,
            "epsilon": step / 90,
        }  # fmt: skip


def evaluation_lines(steps, offset=0.0):
    """The same for evaluations."""
    for step in steps:
        loss = 2.2 + 2 / step + offset
        yield {
            "step": step, "split": "valid", "tokens": 500, "nats_per_token": loss,
            "perplexity": math.exp(loss),
            "word_perplexity": None, "bits_per_byte": loss / 1.9, "bits_per_character": loss / 1.8,
            "accuracy": 0.31,
        }  # fmt: skip


@pytest.fixture
def folder_of(tmp_path):
    """A function that writes a run folder: 120 steps, four evaluations, finished; `without` names
    what lacks.
    """

    def make(name="first", offset=0.0, without=(), samples=(), texts=None, **settings):
        path = tmp_path / name
        path.mkdir(parents=True)
        evaluations = [] if "valid" in without else list(evaluation_lines(range(30, 121, 30), offset))
        lines = [*training_lines(range(10, 121, 10), offset), *evaluations]
        results = {
            "step": 120, "seconds": 4000.4, "best_step": 90 if evaluations else None,
            "splits": {line["split"]: line for line in evaluations[-1:]},
            "sample": {"prompt": "The ", "text": "end of the run", "temperature": 0.8},
        }  # fmt: skip
        life = {"step": 0, "began": "2026-11-25T03:41:04+00:00", "python": "3.11.7", "commit": None}
        contents = {
            "config.json": from_flat({"steps": 120, **settings}).flat(),
            "data.json": {
                "splits": texts or {"train": SPLIT, "valid": {**SPLIT, "tokens": 500}},
                "bad_text": {"train": {"skipped_lines": 1234}}, "total_steps": 120, "vocab_size": 99,
            },
            "results.json": results,
            "environment.json": {"lives": [life, {**life, "step": 60}]},
            "metrics.jsonl": lines,
            "samples.jsonl": [{"step": 30, "prompt": "The ", "text": "old cat"}, *samples],
        }  # fmt: skip
        for file, content in contents.items():
            if file in without:
                continue
            each = content if file.endswith("l") else [content]
            (path / file).write_text("".join(json.dumps(line) + "\n" for line in each))
        return path

    return make
