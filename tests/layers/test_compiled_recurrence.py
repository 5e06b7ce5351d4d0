"""The recurrence compiled by XLA, beside the one of TensorFlow's operations: batch B 3, units H 7, time T."""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.layers import compiled_recurrence, recurrent

B, H = 3, 7


def arguments(time, seed=5, dtype=tf.float32):
    """Return `projected` [B, T, 4 H], the matrix, h and c; and what pulls at the results."""
    random = np.random.default_rng(seed)
    shapes = [(B, time, 4 * H), (H, 4 * H), (B, H), (B, H)]
    values = [tf.constant(random.normal(0, 0.5, shape), dtype) for shape in shapes]
    return values, [tf.constant(random.normal(size=shape), dtype) for shape in [(B, time, H), (B, H)]]


def by_tensorflow(projected, matrix, h, c):
    outputs, cell = recurrent.lstm(tf.transpose(projected, [1, 0, 2]), matrix, h, c)
    return tf.transpose(outputs, [1, 0, 2]), cell


def traced(kernel, pull):
    """Return a function from `values` to outputs, last cell and the gradients of a weighted sum of both; and
    that sum.
    """

    @tf.function(autograph=False)
    def results(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = kernel(*values)
            total = tf.add_n([tf.reduce_sum(part * weights) for part, weights in zip(found, pull)])
        return [*found, *tape.gradient(total, values)], total

    return results


def results(kernel, values, pull):
    return traced(kernel, pull)(values)


def furthest(ones, others):
    """Return the largest difference, relative to the largest value of its tensor."""
    pairs = [
        (np.asarray(tf.cast(a, tf.float64)), np.asarray(tf.cast(b, tf.float64)))
        for a, b in zip(ones, others, strict=True)
    ]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


@pytest.mark.parametrize("time", [2, 5, 40])
def test_equals_the_recurrence_of_tensorflow_with_its_gradients(time):
    values, pull = arguments(time)
    ours, expected = (
        results(kernel, values, pull)[0] for kernel in (compiled_recurrence.lstm, by_tensorflow)
    )
    assert furthest(ours, expected) < 2e-6
    # The control: one step less of the matrix's gradient.
    expected[3] -= tf.tensordot(values[2], expected[2][:, 0], [[0], [0]])
    assert furthest(ours, expected) > 1e-3


def test_gradients_are_what_finite_differences_say_in_float64():
    values, pull = arguments(20, dtype=tf.float64)
    compute = traced(compiled_recurrence.lstm, pull)
    found, _ = compute(values)
    random = np.random.default_rng(8)
    for place, gradient in enumerate(found[2:]):
        direction = random.normal(size=gradient.shape)
        moved = [
            [v + e * direction if k == place else v for k, v in enumerate(values)] for e in (1e-6, -1e-6)
        ]
        above, below = (compute(each)[1] for each in moved)
        assert abs((above - below) / 2e-6 / tf.reduce_sum(gradient * direction) - 1) < 1e-7


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_a_short_matrix_rounds_what_is_multiplied_and_nothing_else(dtype):
    (projected, matrix, h, c), pull = arguments(9)
    short = [projected, tf.cast(matrix, dtype), h, c]
    ours, _ = results(compiled_recurrence.lstm, short, pull)
    assert [value.dtype for value in ours] == [tf.float32] * 3 + [dtype] + [tf.float32] * 2
    exact, _ = results(compiled_recurrence.lstm, [projected, matrix, h, c], pull)
    assert 1e-5 < furthest(ours, exact) < 0.03
    assert furthest(ours, results(by_tensorflow, short, pull)[0]) < 0.03
