"""Private runs by real processes: killed, and carried out by two workers, bit for bit what they are whole."""

import dataclasses

import pytest
from faults import kills

PRIVATE = (
    "--dropout=0", "--spike_sigma=0", "--learning_rate_schedule=constant", "--early_stopping_evals=0",
    "--tokenizer=byte", "--batching=window", "--dp_noise=1", "--dp_delta=1e-5", "--dp_unit=window",
    "--dp_seed=3",
)  # fmt: skip
"""On top of `kills.COMMON`. A seed, since the whole run and the one in pieces have no secret in common."""

LSTM, _, _, WORKERS, *_ = kills.FAULTS


@pytest.fixture
def whole(start):
    """A function that carries out a run in a process of its own, which generates text, too."""

    def execute(folder, flags):
        process = start("train.py", *flags, folder=folder)
        process.communicate()
        assert process.returncode == 0

    return execute


@pytest.mark.slow
def test_a_killed_private_run_equals_the_whole(whole, start):
    flags = (*LSTM.flags, *PRIVATE)
    run = dataclasses.replace(LSTM, flags=flags, kills=3, steps=200, start=start, start_seconds=2.0)
    assert run.execute(whole).problems == []


@pytest.mark.slow
def test_two_private_workers_equal_two_replicas(whole, start):
    """And one of them is killed on the way."""
    run = dataclasses.replace(WORKERS, flags=PRIVATE, kills=1, steps=100, start=start)
    assert run.execute(whole).problems == []
