"""Everything that can go wrong, each made on purpose and written down once: how, and what the user must read.

The tests and `scripts/reliability.py` carry out the same faults: those within one process, up to the first
step; this one with the real script, to the end. A module of this folder holds a list `FAULTS`; what is no
`Fault` in it has the same `name`, `how`, `times`, `slow`, `before`, `at_once` and `execute`.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from in_process import Ended

ROOT = Path(__file__).parents[2]

HEAD = """# Reliability

Faults, and the lines that a user reads. `scripts/reliability.py` writes this page. It makes each fault and
runs `scripts/train.py` with a small network, or `scripts/convert.py`. It fails if an exit code or a line
differs from [the collection of faults](../../tests/faults), if there is a traceback, or if a file is left
over. An exit code of 0 without a line means that the run ends as usual and says nothing unusual. FOLDER and
HASH stand for what differs each time.

Faults during training happen in the process of the run, after a step. Then the same command runs again. It
has to reach the weights, metrics, curves and results of a run to which nothing happened. What the user reads
the second time follows "then:".

[Performance](performance.md) has the cost of watching each step for numbers that are not finite and for
spikes.
"""

SMALL = [
    "--run_dir=run",
    "--cache_dir=cache",
    "--tokenizer=char",
    "--steps=2",
    "--embedding_dim=4",
    "--hidden_units=8",
    "--sequence_length=5",
    "--batch_size=3",
]
"""A run of two steps; what a fault says comes after it and wins."""

ENGLISH = "".join(
    f"The {word} cat sees the tree.\n" for word in ("old", "red", "quiet", "happy", "small") * 12
)


class Result(NamedTuple):
    """What a fault came to: what the user read, and what was not as it has to be, in words."""

    code: int
    line: str
    problems: list[str]


Start = Callable[["Fault", list[str], Path, Callable[[int], None]], Ended]
"""Carries out the command of a fault: more flags, the working folder, and what to tell its process number to.
"""


def process(fault: "Fault", more: list[str], folder: Path, tell: Callable[[int], None]) -> Ended:
    """Carry out a command as a user does."""
    script = str(ROOT / "scripts" / fault.script)
    command = [*fault.before, sys.executable, script, *fault.common, *fault.flags, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as child:
        tell(child.pid)
        try:
            out, err = child.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
    return Ended(child.returncode, out.decode(), err.decode())


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, or only seems to, when `scripts/train.py` or another script is called.

    Attributes:
        name: what is wrong, in words; unique.
        how: how it is made, in words.
        make: makes it in an empty folder, in which the command is then carried out.
        flags: flags after `common`.
        line: the line that the user reads, FOLDER and HASH standing for what differs each time; an empty one
            if nothing is to be said.
        code: exit code.
        meanwhile: done again and again while the command runs, with the folder and the process number.
        before: words before the command, which take rights or space from it.
        at_once: how many of the same command run at the same time, each in its own run folder.
        times: how often `scripts/reliability.py` does it.
        slow: whether it takes more than a second or two even without training.
        script: what is called.
        common: its first flags.
    """

    name: str
    how: str
    make: Callable[[Path], object]
    flags: tuple[str, ...]
    line: str
    code: int = 1
    meanwhile: Callable[[Path, int], object] | None = None
    before: tuple[str, ...] = ()
    at_once: int = 1
    times: int = 1
    slow: bool = False
    script: str = "train.py"
    common: tuple[str, ...] = tuple(SMALL)

    def execute(self, start: Start = process) -> Result:
        """Make the fault in a folder of its own, carry out the command there, and look at what came of it."""
        folder = Path(tempfile.mkdtemp()).resolve()
        try:
            folder.chmod(0o755)
            self.make(folder)
            before = _paths_in(folder)
            runs = [[f"--run_dir=run{number or ''}"] for number in range(self.at_once)]
            with (
                _going_on(self.meanwhile, folder) as tell,
                concurrent.futures.ThreadPoolExecutor(self.at_once) as pool,
            ):
                ended = list(pool.map(lambda more: start(self, more, folder, tell), runs))
            lines = [self._line(one.err).replace(str(folder), "FOLDER") for one in ended]
            problems = [problem for one, line in zip(ended, lines) for problem in self._problems(one, line)]
            left = _paths_in(folder) - before
            whole = _WHOLE if self.code else f"{_WHOLE}|run.*"
            problems += [f"{path} was left over" for path in sorted(left) if not re.fullmatch(whole, path)]
            return Result(ended[0].code, lines[0], problems)
        finally:
            for path, _, _ in os.walk(folder):
                os.chmod(path, 0o700)
            shutil.rmtree(folder)

    def _line(self, err: str) -> str:
        """Return what the user reads: the error, or what a run said beyond the usual."""
        lines = err.split("\n")[:-1]
        if self.code:
            line = lines[-1].removeprefix("error: ") if lines else ""
        else:
            line = " / ".join(line for line in lines if not USUAL.match(line))
        return re.sub(r"\b[0-9a-f]{32}\b", "HASH", line)

    def _problems(self, ended: Ended, line: str) -> list[str]:
        found = []
        if ended.code != self.code:
            found.append(f"exit code {ended.code} where {self.code} was expected")
        if "Traceback" in ended.err:
            found.append("a traceback")
        if self.code and ended.out:
            found.append("something on standard output")
        if line != self.line:
            found.append(f"{line!r} where {self.line!r} was expected")
        return found


USUAL = re.compile(
    "devices:|reading |training a |tokenizing |text:|model:|valid at|step |next:|  |validation was best"
)
"""How lines begin that every run writes to standard error."""

_WHOLE = r"cache(/(tokens|tokenizers)(/[0-9a-f]{32}(/[a-z_.]+)?)?)?"  # A cache may stay: it is whole.


def _paths_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@contextlib.contextmanager
def _going_on(work: Callable[[Path, int], object] | None, folder: Path) -> Iterator[Callable[[int], None]]:
    """Do something again and again, from when the process is known; yield what to tell its number to."""
    known, ended, numbers = threading.Event(), threading.Event(), []

    def repeat() -> None:
        known.wait()
        while work and not ended.wait(0.0005):
            work(folder, numbers[0])

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield lambda number: (numbers.append(number), known.set())
    finally:
        ended.set()
        known.set()
        thread.join()


def collection() -> dict[str, list[Fault]]:
    """Return the faults of every module of this folder, under what the module says it is about."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.__doc__.strip(): module.FAULTS for module in modules}


def files(contents: dict[str, str | bytes]) -> Callable[[Path], None]:
    """Return a function that writes files into a folder."""

    def write(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write
