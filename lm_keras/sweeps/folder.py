"""The sweep folder: what the trials have in common, which there are, and what came of them.

sweep.json    settings, trials, and why some failed     TRIAL/       a run folder, as of scripts/train.py
table.md      all trials, the best first                logs/        what each of them wrote
table.jsonl   the same, one JSON object a line          lock         held while a sweep writes
plot.png      the same as a picture                     hparams/     for TensorBoard's HParams tab

Nothing here imports TensorFlow.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from lm_keras.checkpoints import records
from lm_keras.checkpoints.changes import differences
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import FIELDS, Config, from_flat
from lm_keras.disk.files import opened, write_atomically
from lm_keras.errors import InputError
from lm_keras.sweeps.search import Trial, named_trial

FREE = {name for name, field in FIELDS.items() if not field.metadata["decides_result"]}
"""Settings that may differ when a sweep goes on: the results of its trials do not depend on them."""

SHAPE = {
    "base": {},
    "trials": [{"name": str, "settings": {}, "case?": (str, None), "failed?": (str, None)}],
}

SAVING_SECONDS = 60
"""How long the trial of a sweep that was killed may take to save and end."""


@contextlib.contextmanager
def locked(folder: Path, what: str, flag: str) -> Iterator[None]:
    """Make a folder and hold its lock.

    Args:
        folder: it may not exist yet.
        what: is at work in it.
        flag: by which the user named it.

    Raises:
        InputError: it cannot be written, or another one is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = opened(folder / "lock", "a")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another {what} is at work in --{flag}={folder}; wait for it, stop it, or choose another folder"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write to --{flag}={folder}: {error.strerror}; choose a folder that can be written"
        ) from None
    with lock:
        yield


class SweepFolder:
    """A sweep on disk.

    Args:
        path: the folder; it need not exist.
        base: the settings that all trials have where they say nothing else.

    Attributes:
        trials: all that there are, also those of other grids.
        failed: why trials failed, by name.
    """

    def __init__(self, path: str | os.PathLike, base: Config):
        self.path, self.base = Path(path), base
        self.trials: list[Trial] = []
        self.failed: dict[str, str] = {}

    @property
    def exists(self) -> bool:
        """Tell whether a sweep was begun here, and not only tried to."""
        return bool(self.failed) or any(map(self.begun, self.trials))

    def run(self, trial: Trial) -> RunFolder:
        """Return the run folder of a trial; it need not exist."""
        return RunFolder(self.path / trial.name)

    def begun(self, trial: Trial) -> bool:
        """Tell whether a trial has a run."""
        return self.run(trial).exists

    def read(self) -> None:
        """Take over what is in the folder.

        Raises:
            InputError: it is damaged, is not a sweep, or is one of other settings.
        """
        path = self.path / "sweep.json"
        if not path.exists():
            if self.path.is_dir() and {name.name for name in self.path.iterdir()} - {"lock"}:
                raise InputError(
                    f"--sweep_dir={self.path} is not empty and holds no sweep; choose another folder"
                )
            return
        content = records.read(path)
        if problem := records.wrong(content, SHAPE):
            raise InputError(f"{path} {problem}; restore it from a copy")
        try:
            before = from_flat(content["base"])
            self.trials = _trials_in(content, before)
        except InputError as error:
            raise InputError(f"{path}: {error}; restore it from a copy") from None
        self.failed = {entry["name"]: entry["failed"] for entry in content["trials"] if entry.get("failed")}
        if not self.exists:  # Nothing came of it, so that it binds nobody.
            self.trials = []
        elif changed := differences(before, self.base, FREE):
            lines = "; ".join(line.replace("in the run", "in the sweep") for line in changed)
            raise InputError(
                f"--sweep_dir={self.path} holds a sweep with other settings: {lines}. Use the same to go on"
                " or to add trials, vary that flag, or take another --sweep_dir"
            )
        self.trials = [named_trial(self.base, trial.case, trial.settings) for trial in self.trials]

    def added(self, trials: list[Trial]) -> list[Trial]:
        """Add trials; of those that have the same settings as one that is there, return that one."""
        there = {repr(trial.config.flat()): trial for trial in self.trials}
        asked = [there.get(repr(trial.config.flat()), trial) for trial in trials]
        self.trials += [trial for trial in asked if trial not in self.trials]
        return asked

    def forgive(self, trials: list[Trial]) -> None:
        """Forget that some trials failed."""
        for trial in trials:
            self.failed.pop(trial.name, None)

    def save(self) -> None:
        """Write down which trials there are."""
        entries = [
            {
                "name": trial.name,
                "case": trial.case,
                "settings": trial.settings,
                "failed": self.failed.get(trial.name),
            }
            for trial in self.trials
        ]
        content = records.signed({"base": self.base.flat(), "trials": entries})
        self.write("sweep.json", json.dumps(content, indent=1) + "\n")

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the folder, whole or not at all, unless it is there already."""
        content = content.encode() if isinstance(content, str) else content
        path = self.path / name
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold its lock.

        Raises:
            InputError: it cannot be written, or another sweep is at work in it.
        """
        with locked(self.path, "sweep", "sweep_dir"):
            yield

    def wait_for(self, trial: Trial) -> None:
        """Wait until no process writes to a trial: that of a sweep which was killed saves and ends.

        Raises:
            InputError: it does not end.
        """
        end = time.monotonic() + SAVING_SECONDS
        while _is_locked(self.path / trial.name / "lock"):
            if time.monotonic() > end:
                raise InputError(
                    f"another process is training in {self.path / trial.name}; wait for it, or stop it, and"
                    " give the same command"
                )
            time.sleep(0.1)


def _is_locked(path: Path) -> bool:
    try:
        with opened(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # There is none, or the trial will say what is wrong with it.
    return False


def _trials_in(content: dict, base: Config) -> list[Trial]:
    """Return the trials of `sweep.json`; the name of a folder has to be the one that its settings give."""
    trials = []
    for entry in content["trials"]:
        trial = named_trial(base, entry.get("case"), entry["settings"])
        if trial.name != entry["name"]:
            raise InputError(f"{entry['name']!r} is not the name of {trial.name}")
        trials.append(trial)
    return trials
