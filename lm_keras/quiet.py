"""Import TensorFlow without the lines that it prints at start."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from lm_keras.surroundings import import_keras


def import_tensorflow() -> None:
    """Import TensorFlow and Keras and find the devices, in silence.

    TensorFlow's C++ code writes to file descriptor 2 while it is imported and when it first looks for
    devices, which no log level prevents. What it wrote is shown if one of both fails.

    Raises:
        InputError: Keras has been imported with another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with captured_stderr():
        import_keras()
        import tensorflow as tf

        tf.config.list_physical_devices()


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
