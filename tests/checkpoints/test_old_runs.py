"""Runs of an earlier version are loaded, scored, sampled and go on.

`saved/runs.tar.gz` has one of each family. They were trained for 8 steps on text.txt when a family decided
what is predicted; expected.json says what that version said of them.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder

FAMILIES = ("ngram", "lstm", "gpt", "bert", "glm")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of the runs, which is the working directory, since they name their text from there."""
    with tarfile.open(Path(__file__).parent / "saved" / "runs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sums_of(model):
    return {v.path: np.abs(v.numpy()).sum(dtype=np.float64) for v in model.trainable_variables}


def numbers(values):
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_says_what_it_said(runs, family):
    expected, lm = json.loads((runs / "expected.json").read_text())[family], lm_keras.load(runs / family)
    assert "task" not in json.loads((runs / family / "config.json").read_text())
    assert lm.task.name == {"bert": "masked_lm", "glm": "infilling"}.get(family, "causal_lm")
    assert numbers(lm.evaluate("valid")) == pytest.approx(numbers(expected["evaluate"]), rel=1e-5)
    assert numbers(lm.score(["The king"])[0]) == pytest.approx(numbers(expected["score"][0]), rel=1e-5)
    if family == "bert":
        assert lm.fill("The [MASK]ing", 1).text == expected["text"]
    else:
        assert lm.generate(["The king"], max_new_tokens=12, temperature=0.0) == [expected["text"]]
    assert sums_of(lm.model) == pytest.approx(expected["weights"], rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_goes_on_to_the_same_end(runs, family, train):
    expected = json.loads((runs / "expected.json").read_text())[family]
    path = runs / family
    results = json.loads((path / "results.json").read_text())
    shutil.rmtree(path / "checkpoints" / "step-00000008")
    (path / "results.json").unlink()
    begun = sums_of(lm_keras.load(path).model)
    ended = train(RunFolder(path).config(), path)
    assert ended.code == 0 and "going on from step 4 of 8\n" in ended.err
    assert sums_of(lm_keras.load(path).model) == pytest.approx(expected["weights"], rel=1e-5)
    assert begun != pytest.approx(expected["weights"], rel=1e-5)  # The control: it did learn something.
    now = json.loads((path / "results.json").read_text())
    for split, values in results["splits"].items():
        assert numbers(now["splits"][split]) == pytest.approx(numbers(values), rel=1e-5)
    assert now["sample"] == results["sample"]
