"""Rows B 26, time T 35 (no multiple of 4, as Philox gives numbers), vocabulary V 7."""

import doctest
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.fields import LARGEST
from lm_keras.layers import TokenNoise, noise

B, T, V = 26, 35, 7
COUNTS = [500, 0, 31, 200, 1, 0, 268]
BLANK = [0, 0, 0, 0, 0, 1, 0]
RANDOM = np.random.default_rng(13)
TOKENS = tf.constant(RANDOM.integers(0, V, [B, T]), tf.int32)
ELSE = tf.fill([999, T], V)
"""Tokens that nothing is replaced by, so that what was replaced can be seen."""


def draw(seed=3, step=17, rate=0.4, first_row=0):
    return Draw(
        seed,
        tf.constant(step, tf.int64),
        tf.constant(rate, tf.float32),
        tf.constant(first_row, tf.int64),
    )


def noised(tokens=TOKENS, weights=COUNTS, **settings):
    return TokenNoise(0.4, weights)(tokens, draw=draw(**settings)).numpy()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("weights", [COUNTS, BLANK], ids=["unigram", "blank"])
def test_the_share_that_is_replaced_is_the_rate(rate, weights):
    replaced = noised(ELSE, weights, rate=rate) != V
    deviation = math.sqrt(rate * (1 - rate) / replaced.size)
    assert abs(replaced.mean() - rate) <= 4.5 * deviation
    # At every place too, over all rows.
    share = replaced.mean(axis=0)
    assert np.abs(share - rate).max() <= 4.5 * math.sqrt(rate * (1 - rate) / 999)
    # A larger rate replaces all that a smaller one replaces, by the same tokens, and more.
    smaller = noised(ELSE, weights, rate=rate / 2)
    assert np.all((smaller == V) | (smaller == noised(ELSE, weights, rate=rate)))


def chi_square(tokens, weights):
    """Return how far counts of drawn tokens lie from their weights; infinite if one has weight 0."""
    found, wanted = np.bincount(tokens, minlength=V), np.array(weights) / np.sum(weights) * len(tokens)
    possible = wanted > 0
    if found[~possible].any():
        return np.inf
    return ((found - wanted)[possible] ** 2 / wanted[possible]).sum()


def test_tokens_are_drawn_as_often_as_they_stand_in_the_text():
    drawn = noised(ELSE, rate=0.9)
    drawn = drawn[drawn != V]
    assert len(drawn) > 30_000
    bound = 25.7  # 4 degrees of freedom, of which 1 in 27,000 lies above
    assert chi_square(drawn, COUNTS) < bound
    # The control: other weights, and weights of which one in 1,000 is missing.
    assert chi_square(drawn, [480, 0, 31, 220, 1, 0, 268]) > bound
    assert chi_square(drawn, [500, 0, 31, 200, 0, 0, 268]) == np.inf
    # What is drawn does not depend on what stood there, nor on its place.
    assert chi_square(noised(ELSE, rate=0.999)[:, 4:9].ravel() % V, COUNTS) < bound
    assert set(noised(ELSE, BLANK).ravel()) == {5, V}


def test_every_token_has_its_share_of_all_numbers():
    """Ends at 2^32 times the cumulative share: the first and last number of each token, exactly."""
    layer = TokenNoise(0.1, [1, 0, 2, 1])
    edges = np.array([[0, 2**30 - 1, 2**30, 3 * 2**30 - 1, 3 * 2**30, 2**32 - 1]], np.uint32)
    assert layer._tokens(tf.constant(edges), tf.int32).numpy().tolist() == [[0, 0, 2, 2, 3, 3]]
    many = TokenNoise(0.1, np.full(50_000, 1e9))  # more tokens than 32 bits count
    assert many._tokens(tf.constant(edges), tf.int32).numpy().max() == 49_999


@pytest.mark.parametrize("parts", [[13, 13], [1, 25], [4, 9, 13], [2] * 13])
def test_any_split_of_the_rows_gives_the_same_noise(parts):
    whole, ends = noised(), itertools.accumulate(parts)
    places = [(end - rows, end) for rows, end in zip(parts, ends)]
    pieces = [noised(TOKENS[begin:end], first_row=begin) for begin, end in places]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    pieces = [noised(TOKENS[begin:end]) for begin, end in places]  # every replica begins with row 0
    assert np.mean(np.concatenate(pieces) == whole) < 0.9


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"step": 18}, {"step": 17 + 2**32}, {"first_row": 1}], ids=str
)
def test_another_seed_step_or_row_gives_other_noise(other):
    tokens = tf.fill([B, T], V)
    same = np.mean((noised(tokens, rate=0.5) == V) == (noised(tokens, rate=0.5, **other) == V))
    assert 0.42 < same < 0.58
    np.testing.assert_array_equal(noised(tokens), noised(tokens))


def test_noise_shares_no_numbers_with_dropout():
    """Nor do the two questions whether a token is replaced and by which."""
    assert LARGEST < noise._WHETHER != noise._WHICH < 2**64
    given = draw()
    numbers = [given.bits(layer, B, T).numpy() for layer in (0, 1, 2, noise._WHETHER, noise._WHICH)]
    for one, other in itertools.combinations(numbers, 2):
        assert np.mean(one == other) < 0.001
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_and_xla_give_the_same_tokens_at_any_rate_without_retracing(jit_compile):
    layer = TokenNoise(0.4, COUNTS)

    @tf.function(jit_compile=jit_compile)
    def compiled(tokens, step, rate, first_row):
        return layer(tokens, draw=Draw(3, step, rate, first_row))

    for settings in ({}, {"rate": 0.0}, {"rate": 0.7, "step": 10**6, "first_row": 2**33}):
        given = draw(**settings)
        result = compiled(TOKENS, given.step, given.rate, given.first_row)
        np.testing.assert_array_equal(result, noised(**settings))
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_types_and_shapes_stay(dtype):
    layer, tokens = TokenNoise(0.4, COUNTS), tf.cast(TOKENS, dtype)
    for result in (layer(tokens, draw=draw()), layer(tokens, training=True), layer(tokens)):
        assert (result.dtype, result.shape) == (dtype, (B, T))


def test_tokens_of_a_sequential_model_in_half_precision_are_not_rounded():
    layer = TokenNoise(0.4, np.arange(4099) == 4098, dtype="mixed_bfloat16")
    result = keras.Sequential([keras.Input([T], dtype="int32"), layer])(np.full([B, T], 4097), training=True)
    assert set(np.ravel(result)) == {4097, 4098}


def test_nothing_is_replaced_outside_training():
    layer = TokenNoise(0.9, COUNTS, seed=5)
    np.testing.assert_array_equal(layer(TOKENS), TOKENS)
    np.testing.assert_array_equal(layer(TOKENS, training=False), TOKENS)
    assert np.mean(layer(TOKENS, training=True) == TOKENS) < 0.5


def test_plain_fit_draws_anew_at_the_rate_of_the_variable():
    layer = TokenNoise(0.4, COUNTS, seed=5)
    model = keras.Sequential([layer])
    run = tf.function(lambda tokens: model(tokens, training=True))
    tokens = tf.fill([999, T], V)
    first, second = run(tokens).numpy(), run(tokens).numpy()
    assert 0.5 < np.mean((first == V) == (second == V)) < 0.54  # .6^2 + .4^2
    for rate in (0.0, 0.1, 0.9):
        layer.rate.assign(rate)
        result = run(tokens).numpy()
        assert abs(np.mean(result != V) - rate) <= 4.5 * math.sqrt(rate * (1 - rate) / result.size)
    assert chi_square(result[result != V].astype(int), COUNTS) < 25.7
    again = TokenNoise.from_config(layer.get_config())
    np.testing.assert_array_equal(again(tokens, training=True), first)


@pytest.mark.parametrize(
    ("rate", "weights", "said"),
    [
        (1.0, COUNTS, "rate=1.0: expected"),
        (-0.1, COUNTS, "rate=-0.1: expected"),
        (0.1, [0, 0], r"weights=\[0. 0.\]: expected"),
        (0.1, [1, -1], "expected"),
        (0.1, [1, math.nan], "expected"),
        (0.1, [[1, 2]], "expected"),
    ],
)
def test_bad_settings(rate, weights, said):
    with pytest.raises(ValueError, match=said):
        TokenNoise(rate, weights)


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(noise, extraglobs={"np": np})
    assert (found.attempted, found.failed) == (2, 0)
