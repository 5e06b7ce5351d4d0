"""Rows B 13, time T 7, width D 5 or 9: T x D = 35 and 63 are no multiples of 4, as Philox gives numbers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.layers import ScheduledDropout

B, T, D = 13, 7, 9


def draw(seed=3, step=17, rate=0.4, first_row=0):
    return Draw(
        seed,
        tf.constant(step, tf.int64),
        tf.constant(rate, tf.float32),
        tf.constant(first_row, tf.int64),
    )


def mask(layer=2, rows=B, size=T * D, **settings):
    return draw(**settings).keep(layer, rows, size).numpy()


@pytest.mark.parametrize("size", [1, 3, 4, 35, 63, 64, 99])
@pytest.mark.parametrize("parts", [[13], [6, 7], [1, 12], [4, 4, 5], [1] * 13])
def test_any_split_of_the_rows_draws_the_same_mask(size, parts):
    whole = mask(size=size)
    assert whole.shape == (B, size)
    ends = list(itertools.accumulate(parts))
    pieces = [mask(rows=rows, size=size, first_row=end - rows) for rows, end in zip(parts, ends)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_mask_that_belongs_to_the_device_is_found():
    whole = mask()
    first, second = mask(rows=6), mask(rows=7)  # both replicas begin with row 0
    assert np.mean(np.concatenate([first, second]) == whole) < 0.9
    # A row is a whole number of blocks: 35 numbers in a row without the rounding would run into the next.
    assert np.mean(mask(size=35)[1] == mask(size=70)[0, 35:]) < 0.9


def test_rows_beyond_four_billion():
    far = 2**33 + 5
    whole = mask(rows=4, first_row=far)
    np.testing.assert_array_equal(mask(rows=3, first_row=far + 1), whole[1:])
    assert np.mean(whole == mask(rows=4, first_row=5)) < 0.9


@pytest.mark.parametrize(
    "other",
    [{"seed": 4}, {"seed": 3 + 2**32}, {"step": 18}, {"step": 17 + 2**32}, {"step": 17 + 64}, {"layer": 3}],
    ids=str,
)
def test_another_seed_step_or_layer_draws_another_mask(other):
    same = np.mean(mask(rate=0.5, rows=99) == mask(rate=0.5, rows=99, **other))
    assert 0.47 < same < 0.53
    assert np.mean(mask(rate=0.5) == mask(rate=0.5)) == 1


def test_rows_and_places_draw_different_masks():
    """Every row and every place has a mask of its own: none are equal, none are alike."""
    bits = mask(rate=0.5, rows=99)
    assert len({row.tobytes() for row in bits}) == 99
    assert len({column.tobytes() for column in bits.T}) == T * D
    assert np.abs(np.corrcoef(bits)[np.triu_indices(99, 1)]).max() < 0.6


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_the_share_that_is_dropped_is_the_rate(rate):
    bits = mask(rows=999, rate=rate)
    deviation = np.sqrt(rate * (1 - rate) / bits.size)
    assert abs(np.mean(~bits) - rate) <= 4.5 * deviation
    # A larger rate drops all that a smaller one drops, and more.
    assert not np.any(bits & ~mask(rows=999, rate=rate / 2))


def in_graph(function, **settings):
    """The function, compiled, with all numbers of the draw as tensors."""

    @tf.function(**settings)
    def compiled(x, step, rate, first_row):
        return function(x, Draw(3, step, rate, first_row))

    return lambda x, given: compiled(x, given.step, given.rate, given.first_row)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_and_xla_give_the_same_bits(jit_compile):
    layer = ScheduledDropout(0.4, index=2)
    x = tf.random.stateless_normal([B, T, D], [1, 2])
    compiled = in_graph(lambda x, given: layer(x, draw=given), jit_compile=jit_compile)
    # XLA reads 32 bits of a seed word: nothing else may be packed into the step's.
    for settings in ({}, {"step": 2**31 - 1}, {"rate": 0.9}, {"rate": 0.0}, {"first_row": 99}):
        given = draw(**settings)
        np.testing.assert_array_equal(compiled(x, given) == 0, layer(x, draw=given) == 0)
        np.testing.assert_allclose(compiled(x, given), layer(x, draw=given), rtol=1e-6)


@pytest.mark.parametrize(("size", "time"), [(5, 7), (9, 7), (4, 8)])
def test_time_major_is_batch_major_transposed(size, time):
    x = tf.random.stateless_normal([B, time, size], [1, 2])
    rows_first = ScheduledDropout(0.4, index=2)(x, draw=draw())
    time_first = ScheduledDropout(0.4, index=2, batch_axis=1)(tf.transpose(x, [1, 0, 2]), draw=draw())
    np.testing.assert_array_equal(tf.transpose(time_first, [1, 0, 2]), rows_first)
    np.testing.assert_array_equal(rows_first == 0, ~mask(size=time * size).reshape(B, time, size))
    # Control: the axis matters.
    wrong = ScheduledDropout(0.4, index=2)(tf.transpose(x, [1, 0, 2]), draw=draw())
    assert np.mean((tf.transpose(wrong, [1, 0, 2]) == 0) == (rows_first == 0)) < 0.9


@pytest.mark.parametrize("batch_axis", [0, 1])
def test_a_slice_of_the_rows_gives_the_same_output(batch_axis):
    layer = ScheduledDropout(0.4, index=2, batch_axis=batch_axis)
    shape = [B, T, D] if batch_axis == 0 else [T, B, D]
    x = tf.random.stateless_normal(shape, [1, 2])
    whole = layer(x, draw=draw())
    for first, count in [(0, 4), (4, 1), (5, 8)]:
        part = tf.gather(x, tf.range(first, first + count), axis=batch_axis)
        expected = tf.gather(whole, tf.range(first, first + count), axis=batch_axis)
        np.testing.assert_array_equal(layer(part, draw=draw(first_row=first)), expected)
        assert np.any(layer(part, draw=draw(first_row=first + 1)) != expected)


@pytest.mark.parametrize("way", ["draw", "training"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_expectation_is_kept(way, rate):
    layer = ScheduledDropout(rate, seed=5)
    x = tf.fill([99, T, D], 3.0)
    y = (layer(x, draw=draw(rate=rate)) if way == "draw" else layer(x, training=True)).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 3 / (1 - rate)], rtol=1e-6)
    deviation = 3 * np.sqrt(rate / (1 - rate) / y.size)
    assert abs(y.mean() - 3) < 4.5 * deviation
    unscaled = y * (1 - rate)
    assert abs(unscaled.mean() - 3) > 4.5 * deviation  # the bound is sharp enough to see the scale


def test_rate_zero_and_no_training_change_nothing():
    x = tf.random.stateless_normal([B, T, D], [1, 2])
    layer = ScheduledDropout(0.0)
    np.testing.assert_array_equal(layer(x, draw=draw(rate=0.0)), x)
    np.testing.assert_array_equal(layer(x, training=True), x)
    layer = ScheduledDropout(0.4)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    assert np.any(layer(x, training=True) != x)
    assert np.any(layer(x, draw=draw()) != x)


def test_the_gradient_passes_where_the_value_passed():
    x = tf.random.stateless_normal([B, T, D], [1, 2])
    layer = ScheduledDropout(0.4)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, draw=draw())
    np.testing.assert_allclose(tape.gradient(y, x), y / x, rtol=1e-5)


def test_each_call_in_training_draws_a_new_mask():
    x = tf.ones([B, T, D])
    layer = ScheduledDropout(0.5, seed=3)
    first, second = layer(x, training=True), layer(x, training=True)
    assert 0.4 < np.mean(first == second) < 0.6
    assert len({row.numpy().tobytes() for row in tf.reshape(first, [B * T, D])}) > 50  # and each time step


def test_the_rate_changes_in_a_compiled_step_without_retracing():
    layer, x = ScheduledDropout(0.2), tf.ones([99, T, D])
    traces = []

    @tf.function
    def dropped(step, rate):
        traces.append(rate)
        return tf.reduce_mean(
            tf.cast(layer(x, draw=Draw(3, step, rate, tf.constant(0, tf.int64))) == 0, tf.float32)
        )

    for number, rate in enumerate([0.2, 0.7, 0.0, 0.95]):
        share = dropped(tf.constant(number, tf.int64), tf.constant(rate))
        assert share.numpy() == pytest.approx(rate, abs=0.03)
    assert len(traces) == 1


class Assign(keras.callbacks.Callback):
    """Sets a new rate after the first epoch, as a callback can."""

    def __init__(self, dropout):
        super().__init__()
        self.dropout = dropout

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            if isinstance(self.dropout, ScheduledDropout):
                self.dropout.rate.assign(0.8)
            else:
                self.dropout.rate = 0.8


def shares_dropped(dropout):
    """Which share of the values is zero in two epochs of plain `fit`, the rate changed between them."""

    def zeros(y_true, y_pred):
        return tf.reduce_mean(tf.cast(y_pred == 0, tf.float32))

    model = keras.Sequential([keras.layers.Dense(11), dropout])
    model.compile(optimizer="sgd", loss="mse", metrics=[zeros])
    x = np.random.default_rng(1).normal(size=[64, 5])
    history = model.fit(x, np.ones([64, 11]), batch_size=32, epochs=2, verbose=0, callbacks=[Assign(dropout)])
    return history.history["zeros"]


def test_a_callback_changes_the_rate_in_plain_fit():
    assert shares_dropped(ScheduledDropout(0.2, seed=1)) == pytest.approx([0.2, 0.8], abs=0.06)


def test_a_callback_changes_nothing_in_the_dropout_of_keras():
    """The control, and the reason for this layer: the rate was compiled in."""
    assert shares_dropped(keras.layers.Dropout(0.2, seed=1)) == pytest.approx([0.2, 0.2], abs=0.06)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float32])
def test_the_type_stays(dtype):
    x = tf.cast(tf.random.stateless_normal([B, T, D], [1, 2]), dtype)
    layer = ScheduledDropout(0.4, index=2, dtype="mixed_bfloat16" if dtype != tf.float32 else "float32")
    for y in (layer(x, draw=draw()), layer(x, training=True), layer(x)):
        assert y.dtype == dtype
    np.testing.assert_array_equal(layer(x, draw=draw()) == 0, ~mask().reshape(B, T, D))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1}, "rate=1: expected a number of at least 0 and below 1"),
        ({"rate": -0.1}, "rate=-0.1: expected a number of at least 0 and below 1"),
        ({"rate": float("nan")}, "rate=nan: expected a number of at least 0 and below 1"),
        ({"rate": 0.5, "index": -2}, "index=-2: expected 0 or more"),
        ({"rate": 0.5, "index": -1}, "index=-1: expected 0 or more"),
    ],
)
def test_what_cannot_be_is_named(settings, message):
    with pytest.raises(ValueError) as caught:
        ScheduledDropout(**settings)
    assert str(caught.value) == message


def test_a_layer_is_rebuilt_from_its_configuration():
    layer = ScheduledDropout(0.4, index=5, batch_axis=1, seed=9, name="third")
    layer.rate.assign(0.7)  # the schedule's business, not the configuration's
    again = ScheduledDropout.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.initial_rate, again.index, again.batch_axis, again.seed) == (0.4, 5, 1, 9)
    assert again.rate.numpy() == np.float32(0.4)
    assert again.trainable_variables == []
