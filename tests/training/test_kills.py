"""Law 4 by real processes: killed, started again, and equal to the run that was not, bit for bit."""

import dataclasses
import random

import pytest
from faults import kills

LSTM, _, _, WORKERS, *_ = kills.FAULTS


def test_three_kills():
    random.seed()
    short = dataclasses.replace(LSTM, times=3, steps=500)
    assert short.carry_out().problems == []
