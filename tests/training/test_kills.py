"""Law 4 by real processes: killed, started again, and equal to the run that was not, bit for bit.

All of `faults.kills` is carried out with `-n 0 -m slow` and by `scripts/reliability.py`.
"""

import dataclasses

import pytest
from faults import kills

LSTM, _, _, WORKERS, *_ = kills.FAULTS


@pytest.fixture
def whole(script, monkeypatch):
    """A function that carries out a run in this process."""

    def execute(folder, flags):
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            assert script("train.py", *flags).code == 0

    return execute


def test_three_kills(whole, start):
    run = dataclasses.replace(LSTM, kills=3, steps=200, start=start, start_seconds=2.0)
    assert run.execute(whole).problems == []


def test_a_killed_worker(whole, start):
    """The other one ends, both start again, and the run becomes what two replicas of one process
    make of it.
    """
    run = dataclasses.replace(WORKERS, kills=1, steps=100, start=start)
    assert run.execute(whole).problems == []
