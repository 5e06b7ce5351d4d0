"""Runs of an earlier version are loaded, scored, sampled and go on.

`saved/runs.tar.gz` has one of each family. They were trained for 8 steps on text.txt when a family decided
what is predicted; expected.json says what that version said of them.

What it says of them is compared bit by bit on the kind of processor on which it comes out the same to the
last bit, and to 1e-5 elsewhere: processors add up products in different orders. What this machine computes
twice is compared bit by bit everywhere: a run in the form of that version goes on as the same run in the
form of this one.
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

SAME_TO_THE_BIT = ("vendor_id\t: GenuineIntel\n", "cpu family\t: 6\n", "model\t\t: 207\n")
"""Lines of /proc/cpuinfo: the processor on which all numbers of expected.json come out again."""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of the runs, which is the working directory, since they name their text from there."""
    with tarfile.open(Path(__file__).parent / "saved" / "runs.tar.gz") as archive:
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sums_of(model):
    return {v.path: np.abs(v.numpy()).sum(dtype=np.float64) for v in model.trainable_variables}


def as_recorded(values):
    """Equal to these numbers: to the last bit where the processor allows it."""
    cpuinfo = Path("/proc/cpuinfo")
    content = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    exact = all(line in content for line in SAME_TO_THE_BIT)
    return pytest.approx(values, rel=0, abs=0) if exact else pytest.approx(values, rel=1e-5)


def numbers(values):
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_says_what_it_said(runs, family):
    expected, lm = json.loads((runs / "expected.json").read_text())[family], lm_keras.load(runs / family)
    assert "task" not in json.loads((runs / family / "config.json").read_text())
    assert lm.task.name == {"bert": "masked_lm", "glm": "infilling"}.get(family, "causal_lm")
    assert numbers(lm.evaluate("valid")) == as_recorded(numbers(expected["evaluate"]))
    assert numbers(lm.score(["The king"])[0]) == as_recorded(numbers(expected["score"][0]))
    if family == "bert":
        assert lm.fill("The [MASK]ing", 1).text == expected["text"]
    else:
        assert lm.generate(["The king"], max_new_tokens=12, temperature=0.0) == [expected["text"]]
    assert sums_of(lm.model) == as_recorded(expected["weights"])


def weights_of(path):
    return {v.path: v.numpy().tobytes() for v in lm_keras.load(path).model.trainable_variables}


def cut_off_at_4(path):
    """Make the run one that was stopped at step 4 of 8; return its results."""
    results = json.loads((path / "results.json").read_text())
    shutil.rmtree(path / "checkpoints" / "step-00000008")
    (path / "results.json").unlink()
    return results


@pytest.mark.parametrize("family", FAMILIES)
def test_it_goes_on_to_the_same_end(runs, family, train):
    """And bit by bit as the same run with the settings and the data as this version writes them, on this
    machine.
    """
    expected = json.loads((runs / "expected.json").read_text())[family]
    old, new = runs / family, runs / "today"
    results = cut_off_at_4(old)
    shutil.copytree(old, new)
    folder = RunFolder(new)
    folder.write_json("config.json", folder.config().flat())
    folder.write_json("data.json", folder.read_data())
    assert (new / "config.json").read_bytes() != (old / "config.json").read_bytes()
    begun = lm_keras.load(old).model
    for path in (old, new):
        ended = train(RunFolder(path).config(), path)
        assert ended.code == 0 and "going on from step 4 of 8\n" in ended.err
    assert weights_of(new) == weights_of(old)
    assert sums_of(lm_keras.load(old).model) == pytest.approx(expected["weights"], rel=1e-5)
    assert sums_of(begun) != pytest.approx(expected["weights"], rel=1e-5)  # The control: it did learn.
    now, today = (RunFolder(path).results for path in (old, new))
    for split, values in results["splits"].items():
        assert numbers(now["splits"][split]) == pytest.approx(numbers(values), rel=1e-5)
    assert now["splits"] == today["splits"] and now["sample"] == today["sample"] == results["sample"]
