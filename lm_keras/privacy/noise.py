"""The noise of a step: a pure function of (key, step)."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

PHILOX = 1
"""The counter-based generator's number in TensorFlow's stateless random operations (Salmon et al., 2011)."""

STEP_BITS = 33
"""Bits of a counter's low word that number the blocks of four random numbers within a step."""


def key_of(secret: bytes) -> tf.Tensor:
    """Return 16 bytes as [2] uint64. Graphs capture such a tensor, and do not hold its numbers."""
    with tf.init_scope():
        return tf.constant(np.frombuffer(secret, np.uint64))


def normal(key: tf.Tensor, step: tf.Tensor, shapes: Sequence[Sequence[int]]) -> list[tf.Tensor]:
    """Return standard normal numbers of some shapes, float32.

    No two of all steps and shapes have a random number in common: one word of the key is Philox's key, the
    other one the counter's high word; the low word has the step and a place within it.

    Args:
        key: [2] uint64.
        step: int64 scalar, below 2^31.
        shapes: of the variables, with less than 2^35 numbers in all.
    """
    first, found = tf.cast(step, tf.uint64) * tf.constant(2**STEP_BITS, tf.uint64), []
    blocks = 0
    for shape in shapes:
        counter = tf.stack([first + tf.constant(blocks, tf.uint64), key[1]])
        found.append(
            tf.raw_ops.StatelessRandomNormalV2(
                shape=list(shape), key=key[:1], counter=counter, alg=PHILOX, dtype=tf.float32
            )
        )
        blocks += -(-math.prod(shape) // 4)
    return found
