"""A run that a Python program carries out: keywords in place of flags, exceptions in place of exit codes."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from lm_keras import fields, paths
from lm_keras.config import FIELDS, Config, RunOptions, from_flat
from lm_keras.errors import InputError, nearest
from lm_keras.training import report, runner


def train(settings: Mapping[str, Any]) -> str:
    """Carry out a run, or go on with it, and return its folder.

    Args:
        settings: values of flags of `scripts/train.py`, by name. Without `run_dir` the run goes to a new
            temporary folder, which one line names.

    Raises:
        InputError: a name is unknown, a value is not allowed, or the script would refuse the run.
        KeyboardInterrupt, SystemExit: a signal stopped the run.
    """
    config, options = settings_of(settings)
    if options.dry_run:
        raise InputError("dry_run=True trains no model to return; use scripts/train.py --dry_run")
    if options.run_dir is not None:
        _end_if_stopped(runner.train(config, options, own_process=False))
        return options.run_dir
    parent = tempfile.mkdtemp(prefix="lm_keras_")
    run_dir = os.path.join(parent, "run")
    report.say(f"run_dir is not given; the run is kept in {run_dir}")
    try:
        options = dataclasses.replace(options, run_dir=run_dir)
        _end_if_stopped(runner.train(config, options, own_process=False))
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(parent)  # It is empty if no run began.
    return run_dir


def settings_of(given: Mapping[str, Any]) -> tuple[Config, RunOptions]:
    """Turn keywords into the dataclasses that the flags are read into.

    Args:
        given: values by flag name; a path may be a `Path`, and `~` in it is expanded.

    Raises:
        InputError: for a name that is not a setting, or a value that it may not take.
    """
    options = {field.name: field for field in dataclasses.fields(RunOptions)}
    known, values = FIELDS | options, {}
    for name, value in given.items():
        if name not in known:
            near = nearest(name, list(known))
            raise InputError(f"setting {name!r} is unknown{near}; scripts/train.py --help lists all settings")
        if known[name].metadata["path"] and isinstance(value, str | os.PathLike):
            value = paths.expanded(os.fspath(value), name)
        if name in options:
            fields.check(known[name], value)
        values[name] = value
    chosen = RunOptions(**{name: value for name, value in values.items() if name in options})
    return from_flat({name: value for name, value in values.items() if name in FIELDS}), chosen


def _end_if_stopped(code: int) -> None:
    """Raise what ends a Python program if a signal stopped the run that ended with this exit code."""
    if code == 130:
        raise KeyboardInterrupt("the run is saved; the same call continues it")
    if code:
        raise SystemExit(code)
