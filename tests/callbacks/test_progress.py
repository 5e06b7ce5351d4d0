"""Progress for people: a live line on a terminal, a plain line now and then elsewhere; and metrics.jsonl."""

import io
import json
import math

import pytest

from lm_keras.callbacks import MetricsFile, Progress

LOGS = {
    "step": 1234, "loss": 2.5, "perplexity": 12.18249, "learning_rate": 0.0125, "tokens_per_second": 54321.6,
    "seconds_left": 3725.4,
}  # fmt: skip
LINE = "step 1,234/5,000  loss 2.5000  ppl 12.18  lr 0.013  54,322 tok/s  1:02:05 left"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time stands still but for what the test adds."""
    now = [100.0]
    monkeypatch.setattr("lm_keras.callbacks.progress.time.monotonic", lambda: now[0])
    return now


def test_a_narrow_terminal_gets_no_second_line(clock, monkeypatch):
    stream = Terminal()
    progress = Progress(5000, stream)
    monkeypatch.setattr(progress, "_columns", lambda: 40)
    progress.on_train_batch_end(1, LOGS)
    assert stream.getvalue() == "\r" + LINE[:39]
    assert len(LINE) < 80


def test_a_file_gets_a_plain_line_now_and_then(clock):
    stream = io.StringIO()
    progress = Progress(5000, stream)
    for seconds in (0, 9.9, 0.2, 3):
        clock[0] += seconds
        progress.on_train_batch_end(1, LOGS)
    progress.on_train_end()
    assert stream.getvalue() == f"{LINE}\n{LINE}\n"


def test_a_terminal_gets_one_line_that_changes(clock):
    stream = Terminal()
    progress = Progress(5000, stream)
    progress.on_train_batch_end(1, LOGS)
    clock[0] += 0.1
    progress.on_train_batch_end(1, {**LOGS, "step": 1235})  # too soon
    clock[0] += 0.2
    progress.on_train_batch_end(1, {"step": 1236, "loss": 2.25, "perplexity": None})
    short = "step 1,236/5,000  loss 2.2500  ppl -"
    assert stream.getvalue() == "\r" + LINE + "\r" + short.ljust(len(LINE))
    progress.on_test_end({"step": 1240, "loss": 2.0, "perplexity": 7.389, "bits_per_byte": 1.5})
    assert stream.getvalue().endswith(
        "\r" + " " * len(short) + "\rvalid at step 1,240: loss 2.0000  perplexity 7.39  1.500 bits/byte\n"
    )
    clock[0] += 1
    progress.on_train_batch_end(1, LOGS)
    progress.on_train_end()
    assert stream.getvalue().endswith("\r" + LINE + "\n")


def test_a_loss_that_is_not_finite_is_seen(clock):
    stream = io.StringIO()
    Progress(9, stream).on_train_batch_end(1, {"step": 3, "loss": math.nan, "perplexity": None})
    assert stream.getvalue() == "step 3/9  loss nan  ppl -\n"


def test_metrics_of_a_run(finished, lines_of):
    lines = lines_of(finished.path / "metrics.jsonl")
    training = [line for line in lines if "split" not in line]
    valid = [line for line in lines if "split" in line]
    assert [line["step"] for line in training] == [4, 8, 12, 16, 20, 24]
    assert [line["step"] for line in valid] == [8, 16, 24]
    for line in training:
        assert list(line) == [
            "step", "loss", "perplexity", "bits_per_byte", "accuracy", "learning_rate", "dropout",
            "gradient_norm",
            "data_wait", "tokens_per_second", "seconds",
        ]  # fmt: skip
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]))
        assert line["bits_per_byte"] == pytest.approx(line["loss"] / math.log(2))  # a byte is a token here
        assert 0 <= line["data_wait"] < 1
        # The cosine and the rising dropout, at the last step that the line is of.
        done = (line["step"] - 1) / 24
        assert line["learning_rate"] == pytest.approx(0.02 * 0.5 * (1 + math.cos(math.pi * done)))
        assert line["dropout"] == pytest.approx(0.1 * done)
    assert training[0]["tokens_per_second"] is None  # nothing but a call that compiled
    assert all(line["tokens_per_second"] > 0 for line in training[1:])
    assert all(a["seconds"] < b["seconds"] for a, b in zip(training, training[1:], strict=False))
    assert training[-1]["loss"] < training[0]["loss"] - 0.2
    for line in valid:
        assert list(line) == [
            "step", "split", "tokens", "bytes", "words", "characters", "unknown", "nats_per_token",
            "perplexity",
            "word_perplexity", "bits_per_byte", "bits_per_character", "accuracy", "context", "stride",
        ]  # fmt: skip
        assert all(
            type(line[name]) is int for name in ("step", "tokens", "bytes", "words", "characters", "unknown")
        )
        assert (line["split"], line["context"], line["stride"]) == ("valid", None, None)


def test_metrics_are_valid_json_whatever_happens(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, every=2)
    metrics.set_params({"own_loop": True})
    for step in (1, 2):
        metrics.on_train_batch_end(step, {"step": float(step), "loss": math.nan, "learning_rate": 1e-3})
    metrics.on_test_end(
        {"step": 4.0, "split": "valid", "tokens": 12.0, "nats_per_token": math.inf, "context": None}
    )
    metrics.on_train_batch_end(3, {"step": 3, "loss": 1.5})

    def refuse(constant):
        raise ValueError(constant)

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert lines == [
        {"step": 2, "loss": None, "learning_rate": 1e-3},
        {"step": 4, "split": "valid", "tokens": 12, "nats_per_token": None, "context": None},
    ]


def test_every_metric_of_an_evaluation_is_written(tmp_path):
    """One that no table knows, too."""
    metrics = MetricsFile(tmp_path / "metrics.jsonl", every=2)
    metrics.set_params({"own_loop": True})
    found = {"nats_per_token": 2.0, "accuracy": 0.5, "context": None, "hidden": 0.15, "span_overlap": 0.75}
    metrics.on_test_end({"step": 4.0, "split": "valid", "loss": 2.0, **found})
    metrics.on_train_batch_end(3, {"step": 3, "loss": 1.5})
    (line,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line == {"step": 4, "split": "valid", **found}
