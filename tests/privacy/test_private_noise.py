"""Numbers of the noise: normal, to the last bits of their tails."""

import numpy as np
import tensorflow as tf

from lm_keras.privacy import noise


def of_bits(first, second, deviation=1.0):
    bits = np.array([first, second], np.uint32)
    return noise._normal_of(tf.constant(bits), tf.constant(deviation)).numpy()


def test_pairs_are_those_of_box_and_muller():
    random = np.random.default_rng(3)
    first, second = random.integers(0, 2**32, [2, 4096], dtype=np.uint64)
    first[:3], second[3:7] = (0, 1, 2**32 - 1), (0, 2**31 - 1, 2**31, 2**32 - 1)
    radius = np.sqrt(-2 * np.log((first + 0.5) / 2.0**32))
    angle = 2 * np.pi * second.astype(np.uint32).astype(np.int32) / 2.0**32
    found = of_bits(first, second, 3.0)
    assert np.abs(found - 3 * radius * [np.cos(angle), np.sin(angle)]).max() < 1e-4
    assert np.isfinite(found).all() and 6.7 < np.hypot(*found).max() / 3 < 6.8


def test_the_distribution_is_normal():
    """Its shares beyond 0, 1, 2, 3 and 4 standard deviations on both sides, and no correlation."""
    key = noise.key_of(bytes(range(16)))
    one, other = (
        value.numpy().ravel()
        for value in noise.normal(key, tf.constant(9, tf.int64), [(10**6,), (10, 10**5)])
    )
    tails = {0: 0.5, 1: 0.158655, 2: 0.0227501, 3: 0.00134990, 4: 3.16712e-05}
    for bound, share in tails.items():
        error = 5 * np.sqrt(share * (1 - share) / 1e6)
        for values in (one, -one, other, -other):
            assert abs((values > bound).mean() - share) < error, bound
    assert abs(np.mean(one * other)) < 5e-3
    assert abs(np.mean(one[1:] * one[:-1])) < 5e-3 and abs(np.mean(one[::2] * one[1::2])) < 8e-3


def test_the_deviation_is_a_factor():
    key, step = noise.key_of(bytes(16)), tf.constant(1, tf.int64)
    wide = noise.normal(key, step, [(3, 5), (70,), (4, 4)], 0.5)
    assert [tuple(one.shape) for one in wide] == [(3, 5), (70,), (4, 4)]
    again = noise.normal(key, step, [(3, 5), (70,), (4, 4)], 1.0)
    assert all(np.allclose(2 * a.numpy(), b.numpy(), rtol=1e-6) for a, b in zip(wide, again))
