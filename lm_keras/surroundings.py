"""Settings of Keras and TensorFlow that belong to the whole process: a run neither depends on them nor
changes them.
"""

import contextlib
import functools
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator

from lm_keras.errors import InputError

BACKEND = "tensorflow"


def require_backend() -> None:
    """Raise InputError unless Keras computes with TensorFlow in this process."""
    if "keras" not in sys.modules and os.environ.get("KERAS_BACKEND", BACKEND) == BACKEND:
        import_keras()
    chosen = sys.modules["keras"].config.backend() if "keras" in sys.modules else os.environ["KERAS_BACKEND"]
    if chosen != BACKEND:
        raise InputError(
            f"lm_keras needs Keras with TensorFlow, and this process has KERAS_BACKEND={chosen}; set"
            f" KERAS_BACKEND={BACKEND}, or leave it out, before Keras is imported"
        )


def import_keras() -> None:
    """Import Keras with TensorFlow, whatever `KERAS_BACKEND` and `keras.json` say; both stay as they are."""
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = BACKEND
    try:
        import keras  # noqa: F401
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    require_backend()


@contextlib.contextmanager
def captured_stderr() -> Iterator[None]:
    """Keep from standard error what C++ code writes to it; show it if an exception is raised."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError):  # Nobody reads it, or it is closed.
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed and sys.exc_info()[0] is not KeyboardInterrupt:
                written.seek(0)
                sys.stderr.write(written.read().decode(errors="replace"))


def tell_who_waits(line: str) -> None:
    """Write a line to standard error if that is a terminal: somebody may wait for work that takes seconds."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def usual_settings(deterministic: bool | None = None) -> Iterator[None]:
    """Work with the settings that a new process has; afterwards they are what they were before.

    These are Keras's `floatx`, which decides the number format of a learning rate, whether compiled functions
    run eagerly, which rounds otherwise, and Python's random numbers, from which Keras draws the seeds of
    initial weights.

    Args:
        deterministic: whether operations begin as deterministic ones; None for what the process has.
    """
    import keras
    import tensorflow as tf
    from tensorflow.python.framework import (
        config as operations,
    )  # There is no public way to ask or to end it.

    def set_determinism(wanted: bool) -> None:
        if wanted != operations.is_op_determinism_enabled():
            operations.enable_op_determinism() if wanted else operations.disable_op_determinism()

    floatx, eagerly = keras.config.floatx(), tf.config.functions_run_eagerly()
    was_deterministic, numbers = operations.is_op_determinism_enabled(), random.getstate()
    keras.config.set_floatx("float32")
    tf.config.run_functions_eagerly(False)
    if deterministic is not None:
        set_determinism(deterministic)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        tf.config.run_functions_eagerly(eagerly)
        set_determinism(was_deterministic)
        random.setstate(numbers)


def with_usual_settings(function: Callable) -> Callable:
    """Decorate a function so that it works within `usual_settings`."""

    @functools.wraps(function)
    def call(*arguments, **named):
        with usual_settings():
            return function(*arguments, **named)

    return call


def each_with_usual_settings(pieces: Iterable) -> Iterator:
    """Yield the same, each piece computed within `usual_settings`; whoever asks for it has settings of its
    own.
    """
    iterator, end = iter(pieces), object()
    while True:
        with usual_settings():
            piece = next(iterator, end)
        if piece is end:
            return
        yield piece
