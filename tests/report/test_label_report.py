"""What a page says of runs that predict labels."""

import dataclasses
import json
from pathlib import Path

import pytest

from lm_keras.report import labels
from lm_keras.report.runs import RunRecord

SCORES = {
    "by_class": {
        "b<ad": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1200},
        "good": {"precision": 1, "recall": 0, "f1": 0, "support": 7},
    },
    "intervals": {"accuracy": [0.71, 0.78]},
    "confusion": {"names": ["b<ad", "good"], "counts": [[900, 300], [7, 0]]},
    "calibration": {
        "expected_calibration_error": 0.0731,
        "expected_calibration_error_at_temperature": 0.021,
        "bins": [{"low": 0.6, "high": 0.8, "count": 1207, "confidence": 0.7, "accuracy": 0.75}],
    },
    "temperature": 1.37,
}
TEXTS = {
    "train": {
        "examples": 9000, "shortest": 1, "median": 20, "percentile_95": 41, "longest": 700, "too_long": 3,
        "padding": 0.0123, "labels": {"b<ad": 6000, "good": 3000},
    },
    "valid": {"examples": 0},
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    results = {"step": 9, "splits": {"valid": {"accuracy": 0.75, "scores": SCORES}}, "texts": TEXTS}
    empty = {field.name: [] for field in dataclasses.fields(RunRecord)}
    return RunRecord(
        **{**empty, "path": tmp_path, "name": "a & b", "results": results, "settings": {}, "data": {}}
    )


def written(run, lines):
    path = run.path / "predictions" / "valid.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines))
    return path


def test_scores_confusions_and_calibration(run):
    page = "".join(labels.sections([run]))
    assert "<h3>a &amp; b</h3>" in page
    assert "b&lt;ad" in page and "b<ad" not in page
    assert "1,200" in page and "0.333" in page
    assert "accuracy 0.710 to 0.780" in page
    assert "rgba(31, 119, 180, 0.60)'>900" in page  # 900 of 1,200, times 0.8
    assert "error 0.073; 0.021 at temperature 1.37" in page
    assert "9,000" in page and "1.2%" in page and "6,000 (66.7%)" in page and "0 (0.0%)" in page


def test_a_run_without_labels_has_no_section(run):
    assert labels.sections([dataclasses.replace(run, results={"splits": {"valid": {"loss": 1}}})]) == []
    assert labels.sections([]) == []


def test_the_worst_examples_come_first(run):
    examples = [
        {"source": "a.tsv:1", "text": "fine", "label": "good", "predicted": "good", "nats": 0.1},
        {"source": "a.tsv:2", "text": "<b>" + "x" * 900, "label": "good", "predicted": "b<ad", "nats": 3.5},
    ]
    path = written(run, examples * 30)
    found, note = labels.worst_examples(path)
    assert [example["nats"] for example in found] == [3.5] * 20 and note == ""
    page = "".join(labels.sections([run]))
    assert "the 20 examples of valid" in page
    assert "&lt;b&gt;" in page and "<td><b>x" not in page and "x" * 600 not in page
    written(run, examples)
    page = "".join(labels.sections([run]))
    assert page.index("a.tsv:2") < page.index("a.tsv:1")


def test_wrong_tags_are_told(run):
    line = {"source": "a", "words": ["<i>", "Ada"], "tags": ["O", "B-x"], "predicted": ["O", "O"], "nats": 1}
    written(run, [line])
    page = "".join(labels.sections([run]))
    assert "&lt;i&gt; <b>Ada</b> <span class='note'>[O, not B-x]</span>" in page


def test_damaged_lines_are_counted(run):
    good = {"source": "a", "text": "t", "label": "x", "predicted": "x", "nats": 0.5}
    lines = ["{\n", "[]\n", '{"text": 5, "nats": 1}\n', {**good, "nats": "much"}, "nul\n", good]
    found, note = labels.worst_examples(written(run, lines))
    assert found == [good]
    assert note == "valid.jsonl: 5 of its lines cannot be read and are left out"
    assert note in "".join(labels.sections([run]))
    assert labels.worst_examples(Path("/none/such.jsonl")) == ([], "")
