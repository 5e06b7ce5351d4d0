"""The noise of a step: a pure function of (key, step).

Reference: Box and Muller (1958), "A note on the generation of random normal deviates"; Salmon et al. (2011),
"Parallel random numbers: as easy as 1, 2, 3", on Philox.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

PHILOX = 1
"""The counter-based generator's number in TensorFlow's stateless random operations."""

STEP_BITS = 33
"""Bits of a counter's low word that number the blocks of four random numbers within a step."""

ALIGNED = 32
"""Numbers at a multiple of which the noise of a variable begins: then it is taken out without a copy."""

SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(6)]
COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(7)]
"""Coefficients of Taylor's series in x^2, exact in float32 up to a quarter turn."""


def key_of(secret: bytes) -> tf.Tensor:
    """Return 16 bytes as [2] uint64. Graphs capture such a tensor, and do not hold its numbers."""
    with tf.init_scope():
        return tf.constant(np.frombuffer(secret, np.uint64))


def normal(
    key: tf.Tensor, step: tf.Tensor, shapes: Sequence[Sequence[int]], deviation: float = 1.0
) -> list[tf.Tensor]:
    """Return normal numbers of some shapes, float32.

    No two of all steps and shapes have a random number in common: one word of the key is Philox's key, the
    other one the counter's high word; the low word has the step and a place within it.

    Args:
        key: [2] uint64.
        step: int64 scalar, below 2^31.
        shapes: of the variables, with less than 2^35 numbers in all.
        deviation: standard deviation.
    """
    counts = [math.prod(shape) for shape in shapes]
    lengths = [-(-count // ALIGNED) * ALIGNED for count in counts]
    counter = tf.stack([tf.cast(step, tf.uint64) * tf.constant(2**STEP_BITS, tf.uint64), key[1]])
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[2, sum(lengths) // 2], key=key[:1], counter=counter, alg=PHILOX, dtype=tf.uint32
    )
    parts = tf.split(tf.reshape(_normal_of(bits, tf.constant(deviation)), [-1]), lengths)
    return [tf.reshape(part[:count], shape) for part, count, shape in zip(parts, counts, shapes)]


@tf.function(jit_compile=True, autograph=False)
def _normal_of(bits: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Turn pairs of random integers [2, N] uint32 into pairs of normal numbers, [2, N] float32.

    All 32 bits count, so that numbers up to 6.7 standard deviations come.
    """
    uniform = (tf.cast(bits[0], tf.float32) + 0.5) * 2.0**-32
    radius = deviation * tf.sqrt(-2.0 * tf.math.log(uniform))
    half = tf.cast(tf.bitcast(bits[1], tf.int32), tf.float32) * (math.pi * 2.0**-32)  # of the angle
    sine, cosine = half * _series(half * half, SINE), _series(half * half, COSINE)
    return tf.stack([radius * (1.0 - 2.0 * sine * sine), radius * (2.0 * sine * cosine)])


def _series(x: tf.Tensor, coefficients: Sequence[float]) -> tf.Tensor:
    value = tf.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value
