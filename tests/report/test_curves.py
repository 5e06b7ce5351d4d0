"""Every point of a curve stands where metrics.jsonl says."""

import json
import re

import numpy as np

from lm_keras.objectives.measures import MEASURES
from lm_keras.registry import TASKS
from lm_keras.report import page, plots
from lm_keras.report.runs import points_of, read_runs, thinned

EVALUATED = {"ended", *(name for row in TASKS.values() for name in row.scores)}
"""Measures that training steps do not have."""

PLOTTED = [name for name, measure in MEASURES.items() if measure.title and name not in EVALUATED]


def report_on(*paths):
    return page.page_of(read_runs(list(map(str, paths))))


def drawn(content, curve):
    """The places [n, 2] of a curve's points in its picture."""
    (path,) = re.findall(rf'<g id="{curve}">\s*<path d="([^"]*)"', content)
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path), float)


def distance(content, name, curves):
    """How far, in points of the picture, curves lie from where one scale for all of them would put them."""
    places = np.concatenate([drawn(content, f"{name}-{curve}") for curve in curves])
    points = np.concatenate([np.array(values, float) for values in curves.values()])
    if len(places) != len(points):
        return np.inf
    if MEASURES[name].logarithmic:
        points[:, 1] = np.log(points[:, 1])
    residual = 0.0
    for axis in (0, 1):
        slope, start = np.polyfit(points[:, axis], places[:, axis], 1)
        assert (slope > 0) == (axis == 0)  # pictures count downwards
        residual = max(residual, np.abs(slope * points[:, axis] + start - places[:, axis]).max())
    return residual


def expected_curves(runs, name):
    curves, evaluated = {}, MEASURES[name].evaluated
    for number, run in enumerate(runs):
        curves[f"{number}-train"] = points_of(run.training, name)
        if evaluated:
            curves[f"{number}-valid"] = points_of(run.evaluations, evaluated)
    return curves


def test_curves_are_those_of_the_runs(folder_of):
    paths = [folder_of("first"), folder_of("second", 0.25)]
    runs, content = read_runs(list(map(str, paths))), report_on(*paths)
    for name in PLOTTED:
        curves = expected_curves(runs, name)
        assert len(curves["0-train"]) == (11 if name == "tokens_per_second" else 12)
        assert [len(curves[curve]) for curve in curves if "valid" in curve] == (
            [4, 4] if MEASURES[name].evaluated else []
        )
        assert distance(content, name, curves) < 1e-3
        # The control: one value is another one.
        step, value = curves["1-train"][5]
        curves["1-train"][5] = (step, 1.02 * value)
        assert distance(content, name, curves) > 0.1


def test_nothing_but_zeros_is_not_drawn(folder_of):
    without, path = folder_of("without"), folder_of("with")
    lines = [json.loads(line) for line in (without / "metrics.jsonl").read_text().splitlines()]
    (without / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, "dropout": 0.0}) + "\n" for line in lines)
    )
    assert "Dropout rate" not in report_on(without)
    both = report_on(without, path)
    assert len(drawn(both, "dropout-0-train")) == len(drawn(both, "dropout-1-train")) == 12


def test_a_long_curve_keeps_its_peaks(folder_of, monkeypatch):
    random = np.random.default_rng(3).normal(size=7001)
    random[[0, 1234, 7000]] = 0.5, 99, 0.25
    points = [(step, float(value)) for step, value in enumerate(random)]
    thin = thinned(points, 100)
    assert 90 <= len(thin) <= 104
    assert set(thin) <= set(points)
    assert thin == sorted(thin)
    assert {points[0], points[1234], points[-1], min(points, key=lambda point: point[1])} <= set(thin)
    assert thinned(points[:100], 100) == points[:100]
    assert thinned([(1, 5.0), (2, 9.0), (3, 1.0), (4, 4.0), (5, 4.0), (6, 3.0), (7, 2.0), (8, 7.0)], 4) == [
        (1, 5.0), (2, 9.0), (3, 1.0), (7, 2.0), (8, 7.0),
    ]  # fmt: skip
    monkeypatch.setattr(plots, "thinned", lambda points: thinned(points, 5))
    assert len(drawn(report_on(folder_of()), "loss-0-train")) == 6


def test_curves_of_a_real_run(finished):
    (run,) = read_runs([str(finished.path)])
    content = page.page_of([run])
    for name in PLOTTED:
        if name not in ("tokens_per_second", "epsilon"):  # first lines may have none; the run is not private
            assert distance(content, name, expected_curves([run], name)) < 1e-3


def test_null_and_damaged_lines(folder_of):
    path = folder_of()
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[2] = json.dumps(
        {**json.loads(lines[2]), "loss": None, "perplexity": float("nan"), "gradient_norm": "x"}
    )
    lines[5] = lines[5][:20]
    lines += ['{"loss": 3}', '{"step": "7"}', "[1, 2]", "\x00", "[" * 10**5]
    (path / "metrics.jsonl").write_text("\n".join(lines))
    (run,) = read_runs([str(path)])
    assert run.notes == ["metrics.jsonl: 6 of its lines cannot be read and are left out"]
    content = page.page_of([run])
    assert [len(drawn(content, f"{name}-0-train")) for name in ("loss", "perplexity", "bits_per_byte")] == [
        10,
        10,
        11,
    ]
    assert "first: metrics.jsonl: 6 of its lines cannot be read and are left out" in content
