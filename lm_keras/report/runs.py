"""What a report says of a run, read from its folder. Nothing here needs TensorFlow."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.disk.files import bytes_of, opened
from lm_keras.errors import InputError
from lm_keras.fields import LARGEST

MAX_COMPARISON = 2**20

Points = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run, finished or not.

    Attributes:
        path: of the folder, as it was given.
        name: short, and no two runs of a page have the same.
        settings: every setting by its flag's name.
        data: what `data.json` holds: the text by split, the length of the run.
        results: what `results.json` holds, or None if the run is not finished.
        launches: on what it was carried out, each time that it began or went on.
        training, evaluations: the lines of `metrics.jsonl`.
        samples: the lines of `samples.jsonl`.
        notes: what could not be read.
        comparison: what `comparison.json` holds, or None if the run is not part of one.
    """

    path: Path
    name: str
    settings: dict[str, Any]
    data: dict[str, Any]
    results: dict[str, Any] | None
    launches: list[dict[str, Any]]
    training: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    notes: list[str]
    comparison: dict[str, Any] | None = None

    @property
    def step(self) -> int:
        """Return how many steps were done, as far as a line tells."""
        return max((line["step"] for line in [*self.training, *self.evaluations]), default=0)

    @property
    def state(self) -> str:
        """Say how far the run has come."""
        total = self.data["total_steps"]
        if self.results is None:
            return f"unfinished, at step {self.step:,} of {total:,}"
        step = self.results["step"]
        return (
            f"finished, {step:,} steps" if step == total else f"stopped early at step {step:,} of {total:,}"
        )

    def scores(self) -> dict[str, dict[str, Any]]:
        """Return what evaluations said last, by split; of an unfinished run the last validation."""
        if self.results is not None:
            return self.results["splits"]
        return {line["split"]: line for line in self.evaluations}


def read_runs(paths: list[str], warn: Callable[[str], None] = lambda line: None) -> list[RunRecord]:
    """Read some run folders, as far as they can be read.

    Args:
        paths: of the folders.
        warn: called with one line for each folder that is left out, because it holds no run or a file that
            every run has cannot be read.

    Raises:
        InputError: a folder is given twice, or not a single one can be read.
    """
    folders = [Path(path) for path in paths]
    resolved = [folder.resolve() for folder in folders]
    twice = [path for path, where in zip(paths, resolved) if resolved.count(where) > 1]
    if twice:
        raise InputError(f"the run {twice[0]} is given twice; name each run once")
    names = [where.name for where in resolved]
    runs, errors = [], []
    for folder, name in zip(folders, names):
        try:
            runs.append(_read(folder, name if names.count(name) == 1 else str(folder)))
        except InputError as error:
            errors.append(error)
    for error in errors if runs else errors[1:]:
        warn(f"left out: {error}")
    if not runs:
        raise errors[0]
    return runs


def _read(path: Path, name: str) -> RunRecord:
    folder = RunFolder(path)
    settings = folder.config().flat()
    data, results = folder.read_data(), folder.results
    notes: list[str] = []
    lines = list(_lines_of(path / "metrics.jsonl", notes))
    samples = [line for line in _lines_of(path / "samples.jsonl", notes) if isinstance(line.get("text"), str)]
    return RunRecord(
        path=path,
        name=name,
        settings=settings,
        data=data,
        results=results,
        launches=folder.launches,
        training=[line for line in lines if "split" not in line],
        evaluations=[line for line in lines if "split" in line],
        samples=samples,
        notes=notes,
        comparison=_comparison(path / "comparison.json", notes),
    )


def _comparison(path: Path, notes: list[str]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(bytes_of(path, MAX_COMPARISON))
        if isinstance(content, dict):
            return content
        raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} cannot be read and is left out")
        return None


def _lines_of(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file that have a step; a note tells how many lines are something else."""
    try:
        with opened(path) as file:
            lines = file.read().decode("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return
    except OSError as error:
        notes.append(f"{path.name} cannot be read ({error.strerror}) and is left out")
        return
    damaged = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            if type(content["step"]) is not int or not 0 <= content["step"] <= LARGEST:
                raise ValueError("a step is a whole number")
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += 1
        else:
            yield content
    if damaged:
        notes.append(f"{path.name}: {damaged} of its lines cannot be read and are left out")


def points_of(lines: list[dict[str, Any]], field: str) -> Points:
    """Return (step, value) of every line that has a finite number in that field."""
    return [(line["step"], line[field]) for line in lines if is_number(line.get(field))]


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a finite number, which a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def thinned(points: Points, limit: int = 500) -> Points:
    """Return at most about `limit` points that look the same: the lowest and the highest of each stretch.

    The first and the last point stay, so that nothing seems to begin later or to end earlier.

    Example:
        >>> thinned([(1, 5.0), (2, 9.0), (3, 1.0), (4, 4.0), (5, 4.0), (6, 3.0), (7, 2.0), (8, 7.0)], 4)
        [(1, 5.0), (2, 9.0), (3, 1.0), (7, 2.0), (8, 7.0)]
    """
    if len(points) <= limit:
        return points
    size = math.ceil(2 * len(points) / limit)
    kept = {0, len(points) - 1}
    for begin in range(0, len(points), size):
        part = range(begin, min(begin + size, len(points)))
        kept |= {min(part, key=lambda i: points[i][1]), max(part, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]
