"""Laws that hold for whatever is drawn at random: what is drawn, and what must then hold.

The tests carry out a few cases of each law, the same ones each time; `scripts/fuzz.py` many, other ones for
each seed, and writes the table. A module of this folder holds a list `LAWS`; its docstring says what they are
about.
"""

import atexit
import dataclasses
import importlib
import pkgutil
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from lm_keras.errors import InputError


def folder_for_this_process() -> Path:
    """Return a new folder that is deleted at the end of the process."""
    folder = Path(tempfile.mkdtemp()).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


set_hypothesis_home_dir(folder_for_this_process())  # Else it makes one in the current folder.


@dataclasses.dataclass
class Outcome:
    """What became of the cases of a law.

    Attributes:
        cases: how many were carried out.
        refused: how many of them ended in an InputError, which is a good end.
        seconds: what they took.
        failure: the smallest case for which the law does not hold, in words, or an empty string.
    """

    cases: int = 0
    refused: int = 0
    seconds: float = 0.0
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Law:
    """Something that must hold for every case.

    Attributes:
        name: what must hold, in words; unique.
        drawn: what a case is, in words.
        cases: the strategy that draws one.
        holds: called with a case; raises an error if the law does not hold.
        few: how many cases a test carries out.
        many: cases of a long run, of 10,000 over all laws or some more.
        may_refuse: whether an InputError, of one line, is a good end, too.
    """

    name: str
    drawn: str
    cases: st.SearchStrategy
    holds: Callable[[Any], None]
    few: int
    many: int
    may_refuse: bool = True

    def execute(self, cases: int, seed: int = 1, smallest: bool = True) -> Outcome:
        """Draw so many cases, or all if there are fewer.

        Args:
            cases: how many.
            seed: which; the same ones for the same seed.
            smallest: whether to look for the smallest case for which the law does not hold, or to take any.
        """
        outcome, began = Outcome(), time.perf_counter()
        phases = [hypothesis.Phase.generate] + [hypothesis.Phase.shrink] * smallest

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=cases,
            phases=phases,
            report_multiple_bugs=False,
            database=None,
            deadline=None,
            print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(self.cases)
        def one(case):
            outcome.cases += 1
            try:
                self.holds(case)
            except InputError as error:
                if not self.may_refuse:
                    raise
                check_line(str(error))
                outcome.refused += 1

        try:
            one()
        except Exception as error:
            notes = [*getattr(error, "__notes__", []), f"{type(error).__name__}: {error}"]
            outcome.failure = f"{self.name}: " + "\n".join(notes)
        outcome.seconds = time.perf_counter() - began
        return outcome


def check_line(message: str) -> None:
    """Check that an error is one line that a person can read."""
    assert message, "an empty message"
    assert message.isprintable(), f"a message of several lines: {message!r}"


def collection() -> dict[str, list[Law]]:
    """Return the laws of every module of this folder, under what the module says it is about."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.__doc__.strip(): module.LAWS for module in modules}
