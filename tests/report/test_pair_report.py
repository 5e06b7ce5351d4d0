"""What a page says of runs that generate targets."""

import dataclasses
import json

import pytest

from lm_keras.report import pairs
from lm_keras.report.runs import RunRecord

VALID = {
    "bleu": 31.25, "chrf": 55.5, "rougeL": 60.0, "decoded": "5 beams, 40 pairs", "signature": "bleu|tok:13a",
    "by_length": [
        {"fewest": 1, "most": 4, "pairs": 1200, "bleu": 40.0, "chrf": 61.0, "rougeL": 70.0, "length": 0.97},
    ],
    "baselines": {"copy": {"bleu": 0.5, "chrf": 12.0, "rougeL": 3.0}},
}  # fmt: skip
PAIR = {"place": "v.tsv:1", "source": "a <b>", "references": ["c & d"], "output": "c d", "chrf": 44.4}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "predictions").mkdir()
    empty = {field.name: [] for field in dataclasses.fields(RunRecord)}
    results = {"step": 9, "splits": {"valid": VALID}}
    return RunRecord(
        **{**empty, "path": tmp_path, "name": "a & b", "results": results, "settings": {}, "data": {}}
    )


def page_of(run):
    return "".join(pairs.sections([run]))


def written(run, name, lines):
    content = "".join(line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines)
    (run.path / "predictions" / f"{name}.jsonl").write_text(content)


def test_scores_baselines_and_lengths(run):
    page = page_of(run)
    assert "<h3>a &amp; b</h3>" in page and "31.2" in page and "copy" in page and "0.5" in page
    assert "5 beams, 40 pairs; bleu|tok:13a" in page
    assert "1 to 4" in page and "1,200" in page and "0.97" in page


def test_texts_stand_side_by_side(run):
    lines = [
        {**PAIR, "place": f"v.tsv:{n}", "chrf": float(n % 37), "output": f"output {n}"} for n in range(99)
    ]
    written(run, "valid", [*lines, "broken\n", {**PAIR, "references": []}])
    page = page_of(run)
    assert "12 pairs of valid, with the lowest chrF" in page and "12 pairs of valid, evenly spaced" in page
    assert "a &lt;b&gt;" in page and "c &amp; d" in page and "<b>" not in page
    assert page.index("output 0<") < page.index("output 9<")  # Evenly spaced ones.
    assert "output 37<" in page and "output 36<" in page and "output 35<" not in page
    assert "valid.jsonl: 2 of its lines cannot be read and are left out" in page


def test_attention_is_drawn(run):
    weights = {"source": ["a", "<"], "output": ["x"], "weights": [[0.25, 0.001]]}
    written(run, "attention", [weights, {**weights, "weights": [[0.5]]}, "broken\n"])
    page = page_of(run)
    assert page.count("<svg") == 1 and "x – a: 0.25" in page and "fill-opacity='0.25'" in page
    assert "&lt;</text>" in page and page.count("<rect") == 1


def test_runs_without_targets_have_no_section(run):
    other = dataclasses.replace(run, results={"step": 9, "splits": {"valid": {"bleu": 3.0}}})
    assert pairs.sections([other]) == []
