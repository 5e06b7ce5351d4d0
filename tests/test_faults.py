"""Every fault of `faults`, up to the first step of training; with the script to the end if slow tests are
wanted.
"""

import dataclasses
import os

import faults
import pytest
from faults import runs

from lm_keras.training import run as training_run

ALL = [fault for part in faults.collection().values() for fault in part]
QUICK = [fault for fault in ALL if not (fault.slow or fault.before or fault.at_once > 1)]


def names_of(some):
    return [fault.name for fault in some]


@pytest.fixture
def within_this_process(script, monkeypatch):
    """What carries out the script of a fault without training."""
    monkeypatch.setattr(training_run.Run, "__init__", lambda self, *args: None)
    monkeypatch.setattr(training_run.Run, "execute", lambda self: 0)

    def start(fault, more, folder, tell):
        monkeypatch.chdir(folder)
        tell(os.getpid())
        return script(fault.script, *fault.common, *fault.flags, *more)

    yield start
    monkeypatch.undo()


@pytest.mark.parametrize("fault", QUICK, ids=names_of(QUICK))
def test_a_fault(within_this_process, fault):
    assert fault.execute(within_this_process).problems == []


def test_names_are_unique():
    assert len(set(names_of(ALL))) == len(ALL)


def test_a_killed_conversion(start, script, monkeypatch):
    def convert(folder, *words):
        monkeypatch.chdir(folder)
        return script("convert.py", *words)

    (fault,) = [fault for fault in ALL if fault.name == "a model killed before it is a run"]
    assert fault.execute(convert, start).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ALL, ids=names_of(ALL))
def test_a_fault_as_a_process(fault):
    assert fault.execute().problems == []


def ended(code=1, out="", err="error: this is wrong\n", leave=()):
    """What carries out nothing, ends in that way and leaves files behind."""

    def start(fault, more, folder, tell):
        for name in leave:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return faults.Ended(code, out, err)

    return start


WRONG = faults.Fault("x", "y", lambda folder: None, (), "this is wrong")
CONTROLS = {
    "code": (ended(code=2), ["exit code 2 where 1 was expected"]),
    "trains": (ended(code=0), ["exit code 0 where 1 was expected"]),
    "output": (ended(out="text\n"), ["something on standard output"]),
    "traceback": (ended(err="Traceback\nerror: this is wrong\n"), ["a traceback"]),
    "line": (ended(err="error: that\n"), ["'that' where 'this is wrong' was expected"]),
    "silent": (ended(err=""), ["'' where 'this is wrong' was expected"]),
    "run": (ended(leave=["run/lock"]), ["run was left over", "run/lock was left over"]),
    "half": (ended(leave=["cache/tokens/.unfinished-1"]), ["cache/tokens/.unfinished-1 was left over"]),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_what_is_not_as_it_has_to_be_is_seen(control):
    start, problems = CONTROLS[control]
    assert WRONG.execute(start).problems == problems


MISHAP = runs.Mishap("x", "y", lambda model: None, "this is wrong", "going on from step 6 of 12")
OF_MISHAPS = {
    "code": (faults.Ended(0, "", "error: this is wrong\n"), ["exit code 0 where 1 was expected"]),
    "output": (faults.Ended(1, "text\n", "error: this is wrong\n"), ["something on standard output"]),
    "two lines": (
        faults.Ended(1, "", "model: lstm\nodd\nerror: this is wrong\n"),
        ["'odd / this is wrong' where 'this is wrong' was expected"],
    ),
    "half": (faults.Ended(1, "", "error: this is wrong\n"), ["disk/.unfinished-1 was left over"]),
    "nothing": (faults.Ended(1, "", "model: lstm\nerror: this is wrong\n"), []),
}


@pytest.mark.parametrize("control", OF_MISHAPS)
def test_what_is_not_as_it_has_to_be_after_a_mishap_is_seen(tmp_path, control):
    ended, problems = OF_MISHAPS[control]
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / (".unfinished-1" if control == "half" else "run")).touch()
    assert MISHAP.problems_of(ended, tmp_path) == problems


def test_what_is_as_it_has_to_be_passes():
    assert WRONG.execute(ended(leave=[f"cache/tokens/{'0' * 32}/tokens"])).problems == []
    fine = dataclasses.replace(WRONG, code=0, line="")
    assert fine.execute(ended(0, "text\n", "model: lstm\n", ["run/lock"])).problems == []
    assert fine.execute(ended(0, "", "model: lstm\nodd\n")).problems == ["'odd' where '' was expected"]
