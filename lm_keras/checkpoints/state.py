"""Checkpoints: written whole or not at all, checked when read, the newest valid one used.

`checkpoints/step-00000500/` holds `state.index` and `state.data-*`, written by `tf.train.Checkpoint`, and
`progress.json` with everything that is not a tensor, the sha256 of the other files and one of itself.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import tensorflow as tf

from lm_keras import paths
from lm_keras.checkpoints.records import MAX_BYTES, NUMBER, sealed, unsealed, wrong
from lm_keras.checkpoints.variables import Tensors, check_finite, slots_in, tracked
from lm_keras.disk.files import bytes_of, opened
from lm_keras.disk.folders import remove_folder, write_folder
from lm_keras.errors import GO_ON, InputError, reason_of
from lm_keras.objectives.measures import cost_of

_PROGRESS = "progress.json"
_PREFIX = "state"

SHAPE = {
    "step": int, "sha256": {str: str}, "validated?": {"measure": str, "better": str, "value": NUMBER},
    "valid_loss?": (*NUMBER, None), "meter?": {str: NUMBER}, "seconds?": NUMBER,
    "learning_rate_scale?": NUMBER, "learning_rate_set?": NUMBER, "left_out?": {str: int},
    "left_out_in_a_row?": int,
    "recent?": [[NUMBER]], "callbacks?": {str: {}},
}  # fmt: skip
"""What is read in `progress.json`, as in `records.SHAPES`. Older checkpoints have `valid_loss`: the value of
the measure, or its negative value where high is better.
"""

GONE = "it was deleted meanwhile"
"""What `Checkpoints.problem` says of a checkpoint that a run which trains has deleted since it was listed."""

ATTEMPTS = 20
"""How often a reader lists the checkpoints again because one was deleted while it was read."""


class Gone(InputError):
    """A checkpoint was deleted while it was read; there is a newer one."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are.
        keep: how many of the newest to keep beside the best one.
        warn: called with one line when a checkpoint is damaged.
    """

    def __init__(self, folder: Path, keep: int = 2, warn: Callable[[str], None] = lambda line: None):
        self.folder, self._keep, self._warn = Path(folder), keep, warn
        self._checked: dict[Path, str] = {}

    def save(
        self, step: int, tensors: Tensors, progress: dict, instead_of: Collection[int] = frozenset()
    ) -> None:
        """Write a checkpoint, then delete those that are neither new nor the best.

        Args:
            step: optimizer steps that were done.
            tensors: lists of variables, by name: the weights, the optimizer's slots and so on.
            progress: JSON values. `validated`, if there, decides which checkpoint is the best: the `measure`,
                its `value`, and whether `low` or `high` is `better`.
            instead_of: steps of checkpoints that it replaces.

        Raises:
            InputError: a number is not finite, or the folder cannot be written; what was there before is
                untouched.
        """
        folder = self._path(step)
        there = step in self.steps()
        if there and step not in instead_of and not self.problem(step):
            return
        check_finite(step, tensors)
        if there:
            _remove(folder)

        def fill(path: Path) -> None:
            try:
                with paths.literally(path) as place:
                    tracked(tensors).write(f"{place}/{_PREFIX}")
            except tf.errors.OpError as error:
                raise OSError(None, reason_of(error), str(folder)) from None
            sums = {file.name: _sha256(file) for file in sorted(path.iterdir())}
            content = sealed({"step": step, **progress, "sha256": sums})
            (path / _PROGRESS).write_text(content, encoding="utf-8")

        write_folder(folder, fill, f"the checkpoints before are as they were; {GO_ON}")
        self._checked[folder] = ""
        for other in set(instead_of).intersection(self.steps()) - {step}:
            remove_folder(self._path(other))
        self._forget_old()

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, damaged ones too, in rising order."""
        numbers = {path: path.name.removeprefix("step-") for path in self.folder.glob("step-*")}
        found = {int(number): path for path, number in numbers.items() if number.isdecimal()}
        return sorted(step for step, path in found.items() if path == self._path(step))

    def newest(self) -> int | None:
        """Return the step of the newest checkpoint that is whole; warn of each newer one that is not.

        Raises:
            Gone: a run that trains here deletes its checkpoints faster than they can be read.
        """
        warned = set()
        for _ in range(ATTEMPTS):
            for step in reversed(self.steps()):
                problem = self.problem(step)
                if not problem:
                    return step
                if problem == GONE:
                    break
                if step not in warned:
                    warned.add(step)
                    path = self._path(step)
                    self._warn(f"checkpoint {path} is damaged ({problem}); using the one before it")
            else:
                return None
        raise self.gone()

    def best(self) -> int | None:
        """Return the step of the checkpoint that was the best in validation, or None if none was validated.

        Raises:
            Gone: as for `newest`.
        """
        for _ in range(ATTEMPTS):
            steps = self.steps()
            problems = [self.problem(step) for step in steps]
            if GONE in problems:
                continue  # It was perhaps the best one, until a better one came.
            try:
                found = {
                    step: _cost(self.progress(step)) for step, problem in zip(steps, problems) if not problem
                }
            except FileNotFoundError:
                continue
            costs = {step: cost for step, cost in found.items() if cost is not None}
            return min(costs, key=lambda step: (costs[step], step)) if costs else None
        raise self.gone()

    def sound(self) -> list[int]:
        """Return the steps of the checkpoints that are whole, in rising order."""
        return [step for step in self.steps() if not self.problem(step)]

    def damaged(self) -> dict[int, str]:
        """Return what is wrong with each checkpoint that is there and is not whole."""
        problems = {step: self.problem(step) for step in self.steps()}
        return {step: problem for step, problem in problems.items() if problem not in ("", GONE)}

    def gone(self) -> Gone:
        """Return the error for checkpoints that are deleted faster than they can be read."""
        return Gone(
            f"the run that trains in {self.folder.parent} deletes its checkpoints faster than they can be"
            " read; wait until it ends, or let it go on with a larger --checkpoint_every or"
            " --keep_checkpoints"
        )

    def problem(self, step: int) -> str:
        """Return what is wrong with a checkpoint, or an empty string. Each is read once."""
        folder = self._path(step)
        if folder not in self._checked:
            problem = self._check(step)
            if problem and not os.path.lexists(folder):
                return GONE
            self._checked[folder] = problem
        return self._checked[folder]

    def _check(self, step: int) -> str:
        folder, name = self._path(step), _PROGRESS
        try:
            if not folder.is_dir():
                return "a link to nowhere" if folder.is_symlink() else "no folder"
            if not any(folder.iterdir()):
                return "an empty folder"
            content = self.progress(step)
            if problem := wrong(content, SHAPE) or ("" if content["sha256"] else "lists no files"):
                return f"{_PROGRESS} {problem}"
            if content["step"] != step:
                return f"{_PROGRESS} is of step {content['step']:,}"
            for name, expected in content["sha256"].items():
                if _sha256(folder / Path(name).name) != expected:
                    return f"{name} has other content than was written"
        except FileNotFoundError:
            return f"{name} is missing"
        except PermissionError as error:
            raise InputError(
                f"cannot read {error.filename}: {error.strerror}; check its permissions"
            ) from None
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
        except ValueError as error:
            return f"{_PROGRESS} {error}"
        return ""

    def progress(self, step: int) -> dict:
        """Return the JSON values of a checkpoint."""
        return unsealed(bytes_of(self._path(step) / _PROGRESS, MAX_BYTES))

    def size(self, step: int) -> int:
        """Return how many bytes of tensors a checkpoint has.

        Raises:
            Gone: it was deleted meanwhile.
        """
        folder = self._path(step)
        try:
            found = sum(path.stat().st_size for path in folder.glob(f"{_PREFIX}.data-*"))
        except FileNotFoundError:
            found = 0
        if not os.path.lexists(folder):
            raise self.gone()
        return found

    def restore(self, step: int, tensors: Tensors, everything: bool = True) -> None:
        """Read the tensors of a checkpoint.

        Args:
            step: one of `steps`.
            tensors: as given to `save`, or part of them.
            everything: whether all that was saved must find its place.

        Raises:
            Gone: it was deleted or replaced meanwhile; the tensors hold anything.
            InputError: the checkpoint does not fit, or cannot be read.
        """
        folder = self._path(step)
        identity = _identity(folder)
        try:
            with paths.literally(folder) as place:
                prefix = f"{place}/{_PREFIX}"
                # What is missing is an error here; TensorFlow need not warn of it as well, at the end of the
                # process.
                status = tracked(tensors, slots_in(prefix)).read(prefix).expect_partial()
            status.assert_existing_objects_matched()
            if everything:
                status.assert_consumed()
        except (OSError, tf.errors.OpError, ValueError, AssertionError) as error:
            if identity is None or identity != _identity(folder):
                raise self.gone() from None
            if isinstance(error, OSError):
                raise InputError(f"cannot read {folder}: {error.strerror}; check its permissions") from None
            raise InputError(
                f"checkpoint {folder} does not fit this network ({_first_line(error)}); "
                "was the run folder put together from two runs?"
            ) from None

    def _forget_old(self) -> None:
        good = self.sound()
        kept = {*good[-self._keep :], self.best()}
        for step in self.steps():
            if step not in kept and good and step < good[-1]:
                remove_folder(self._path(step))

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


@contextlib.contextmanager
def understood(step: int) -> Iterator[None]:
    """Turn what goes wrong while the numbers of a checkpoint are taken over into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise InputError(
            f"the checkpoint of step {step:,} was written by another version of lm_keras, which kept other "
            "numbers; go on with that version, or begin a new run with --init_from this one"
        ) from None


def _cost(progress: dict) -> float | None:
    """Return a number that is lower where the validation of a checkpoint was better, or None without one."""
    if validated := progress.get("validated"):
        return cost_of(validated["value"], validated["better"])
    return progress.get("valid_loss")


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one that is put in its place, or None where there is none."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: Path) -> None:
    """Delete a damaged checkpoint, whatever it is, or say why that cannot be."""
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise InputError(f"cannot replace {path}: {error.strerror}; delete it") from None


def _sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: BaseException) -> str:
    text = re.sub(r"\{\{.*?\}\} ?", "", str(error))  # TensorFlow names the node of its graph first.
    return (text.strip() or type(error).__name__).split("\n")[0][:200]
