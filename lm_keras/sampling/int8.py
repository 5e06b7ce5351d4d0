"""Whether products may read weights as 8-bit integers."""

import importlib.util

import keras
import tensorflow as tf

from lm_keras.errors import InputError, nearest
from lm_keras.layers.casting import Int8Matrices
from lm_keras.registry import families_with

WEIGHTS = ("float32", "int8")
"""Number formats in which products may read weights; the first one stands for that of the run's
`--precision`."""


LITE = "tensorflow.lite.python.schema_py_generated"
"""The module of TensorFlow Lite that is imported from the deepest folder."""


def int8_of(model: keras.Model, weights: str) -> Int8Matrices | None:
    """Return the matrices of a model as 8-bit integers, or None where `weights` asks for none.

    Raises:
        InputError: `weights` is unknown, or would do nothing: for families without a cache, and on a GPU; or
            a weight is not finite, or TensorFlow Lite is missing.
    """
    if weights not in WEIGHTS:
        raise InputError(
            f"weights={weights!r} is unknown{nearest(weights, WEIGHTS)}; choose one of {', '.join(WEIGHTS)}"
        )
    if weights == "float32":
        return None
    flag = "--weights=int8 (weights='int8')"
    if model.product_matrices is None:
        raise InputError(f"{flag} is for --model={' or '.join(families_with('cache'))}; leave it out")
    if tf.config.list_physical_devices("GPU"):
        raise InputError(
            f"{flag} is for text from a CPU, and here is a GPU; leave it out, or set CUDA_VISIBLE_DEVICES=-1"
        )
    if not _has_lite():
        raise InputError(
            f"{flag} needs TensorFlow Lite, which TensorFlow {tf.__version__} no longer has; leave it out, or"
            " install tensorflow 2.21"
        )
    if not all(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(weight))) for weight in model.weights):
        # A row with a number that is none would be rounded to numbers.
        raise InputError(
            f"{flag} rounds weights, and some of this model's are not finite; its training has diverged, use"
            " an earlier checkpoint or train with a lower learning rate"
        )
    return Int8Matrices(model)


def _has_lite() -> bool:
    try:
        return importlib.util.find_spec(LITE) is not None
    except ModuleNotFoundError:  # A folder above it is missing.
        return False
