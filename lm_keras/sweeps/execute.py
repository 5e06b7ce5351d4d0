"""The trials of a sweep, one after the other, each a process of scripts/train.py.

A process of its own makes a trial exactly the run that it would be without a sweep, whatever came before it
in memory, and lets its devices and replicas be its own. It costs the seconds in which TensorFlow is imported.
"""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

from lm_keras import paths
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.flagfiles import flagfile_of
from lm_keras.sweeps import report
from lm_keras.sweeps.folder import SweepFolder
from lm_keras.sweeps.rows import row_of
from lm_keras.sweeps.search import Trial
from lm_keras.sweeps.settings import SweepOptions
from lm_keras.training import launcher
from lm_keras.training.signals import STOPPED


class Processes:
    """Processes one after the other; signals that come meanwhile are passed on to the one that there is.

    Args:
        command: what each of them carries out, before its own words.

    Attributes:
        sent: the signals that came.
        peak_mebibytes: the most main memory that the latest process has held.
    """

    def __init__(self, command: list[str]):
        self.command, self.sent, self.peak_mebibytes = command, [], 0.0
        self._workers: list[launcher.Worker] = []
        self._passed_on = launcher.passed_on(self._workers)

    def __enter__(self) -> Self:
        self.sent = self._passed_on.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._passed_on.__exit__(*error)

    def execute(self, words: list[str], log: IO) -> int:
        """Carry out the command with some words, writing to a log; return its exit code."""
        if self.sent:
            return 128 + self.sent[0]
        self._workers[:] = [launcher.Worker([*self.command, *words], dict(os.environ), 0, log)]
        for number in self.sent:  # Came while it was being started.
            self._workers[0].send(number)
        self.peak_mebibytes = 0.0
        while (code := self._workers[0].code()) is None:
            self.peak_mebibytes = max(self.peak_mebibytes, _peak_mebibytes(self._workers[0].process.pid))
            time.sleep(0.05)
        return code


def _peak_mebibytes(pid: int) -> float:
    """Return the most main memory that a process has held so far; 0 where nothing tells, or it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        return 0.0


def sweep(base: Config, trials: list[Trial], options: SweepOptions, train: list[str]) -> int:
    """Carry out trials, or go on with them, and write the table and the plot.

    Args:
        base: the settings that all of them have where they say nothing else.
        trials: what to carry out.
        options: where, and how.
        train: the command of a run, to which its flags are added.

    Returns:
        The exit code: 0 done, 1 if not a single trial is finished, 129, 130 or 143 stopped by SIGHUP, SIGINT
        or SIGTERM.

    Raises:
        InputError: for everything that a user can get wrong; trials that are there stay as they are.
    """
    if not options.sweep_dir:
        raise InputError(
            "--sweep_dir is missing: expected the folder for this sweep, such as --sweep_dir=sweeps/first"
        )
    if os.environ.get("TF_CONFIG"):
        raise InputError(
            "the environment variable TF_CONFIG is set, and a sweep is one process that starts its trials on"
            " this machine; unset it"
        )
    folder = SweepFolder(options.sweep_dir, base)
    folder.read()
    if folder.exists and options.resume == "never":
        raise InputError(
            f"--resume=never, but --sweep_dir={folder.path} holds a sweep; choose another folder, or go on"
            " with --resume=auto"
        )
    if not folder.exists and options.resume == "must":
        raise InputError(
            f"--resume=must, but --sweep_dir={folder.path} holds no sweep; begin one with --resume=auto"
        )
    if options.dry_run:
        asked = folder.added(trials)
        sys.stdout.write("".join(f"{trial.name}\n" for trial in asked))
        done = sum(_finished(folder, trial) for trial in asked)
        _say(f"{len(asked)} trials, {done} of them finished; nothing is trained")
        return 0
    with folder.held():
        folder.read()  # Again: another sweep may have ended meanwhile.
        asked = folder.added(trials)
        if options.retry_failed:
            folder.forgive(asked)
        folder.save()
        return _execute(folder, asked, train)


def _execute(folder: SweepFolder, asked: list[Trial], train: list[str]) -> int:
    left = [trial for trial in asked if trial.name not in folder.failed and not _finished(folder, trial)]
    kept = len(asked) - len(left)
    if kept:
        failed = sum(trial.name in folder.failed for trial in asked)
        again = f", {failed} of them failed (--retry_failed tries these again)" if failed else ""
        _say(f"{kept} of {len(asked)} trials are done already{again}")
    with Processes(train) as processes:
        for number, trial in enumerate(left, kept + 1):
            code = _shown(f"trial {number} of {len(asked)}", folder, trial, processes)
            if code:
                _say(f"stopped in trial {number} of {len(asked)}; the same command goes on from there")
                return code
    results = report.write(folder, _command())
    sys.stdout.write(report.shown(results))
    _say(f"wrote {folder.path}/table.md, table.jsonl and plot.png; next:")
    program = Path(sys.executable).with_name("tensorboard")
    here = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    _say(f"  {paths.as_word(here)} --logdir={paths.as_word(folder.path)}")
    return 0 if any(row.state == "finished" for row in results.rows) else 1


def _finished(folder: SweepFolder, trial: Trial) -> bool:
    return folder.run(trial).sound_results(_say) is not None


def _shown(place: str, folder: SweepFolder, trial: Trial, how: Processes) -> int:
    """Carry out one trial, in a line; return 0, or the exit code of a sweep that was stopped."""
    sys.stderr.write(f"{place}, {trial.name}: ")
    sys.stderr.flush()
    outcome = ""
    try:
        code = _trained(folder, trial, how)
        report.write(folder, _command())
        outcome = row_of(folder, trial).outcome
    finally:
        _say(outcome)
    return code


def _trained(folder: SweepFolder, trial: Trial, how: Processes) -> int:
    """Carry out one trial; return 0, or the exit code of who was stopped.

    Raises:
        InputError: it could not begin, and no trial ever did, so that it is the flags of all.
    """
    folder.wait_for(trial)
    settings = {"run_dir": paths.spelled(folder.path / trial.name), "resume": "auto", **trial.config.flat()}
    log = folder.path / "logs" / f"{trial.name}.txt"
    log.parent.mkdir(exist_ok=True)
    with open(log, "ab") as file:
        before = file.tell()
        code = how.execute(flagfile_of(settings).splitlines(), file)
    if how.sent:
        return 128 + how.sent[0]
    if code in STOPPED:  # Somebody else has stopped the trial.
        return code
    if code:
        why = _reason(log.read_bytes()[before:].decode(errors="replace"), code)
        if not any(map(folder.begun, folder.trials)):
            raise InputError(f"the trial {trial.name} could not begin: {why}")
        folder.failed[trial.name] = why
        folder.save()
    return 0


def _reason(log: str, code: int) -> str:
    """Return why a process failed, from what it wrote."""
    if code < 0:
        return f"it was ended by signal {-code}"
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"it ended with exit code {code}"])[-1]


def _command() -> str:
    return shlex.join(["python", "scripts/sweep.py", *sys.argv[1:]])


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
