"""Cases of parametrized tests that repeat a law on code which the other cases run already."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*cases: Any) -> list:
    """Return cases that only `-m slow` carries out; a tuple holds all arguments of one case."""
    arguments = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*each, marks=pytest.mark.slow) for each in arguments]


def others_slow(cases: Iterable[Any], default: Iterable[Any]) -> list:
    """Return all cases, in their order; those that are not default ones are slow."""
    kept = list(default)
    return [case if case in kept else slow(case)[0] for case in cases]
