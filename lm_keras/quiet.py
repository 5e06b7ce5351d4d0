"""Import TensorFlow without the lines that it prints at start."""

import os

from lm_keras.surroundings import captured_stderr, import_keras, tell_who_waits


def import_tensorflow(told: str | None = None) -> None:
    """Import TensorFlow and Keras and find the devices, in silence.

    TensorFlow's C++ code writes to file descriptor 2 while it is imported and when it first looks for
    devices, which no log level prevents. What it wrote is shown if one of both fails.

    Args:
        told: a line that tells who waits at a terminal what happens.

    Raises:
        InputError: Keras has been imported with another backend.
    """
    if told:
        tell_who_waits(told)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with captured_stderr():
        import_keras()
        import tensorflow as tf

        tf.config.list_physical_devices()
