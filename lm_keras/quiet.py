"""Import TensorFlow without the lines that it prints at start."""

import os

from lm_keras.surroundings import captured_stderr, import_keras


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
