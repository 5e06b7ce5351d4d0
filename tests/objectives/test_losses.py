"""Rows B 3, time T 5, vocabulary V 13."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow

from lm_keras.objectives import compiled_loss, losses
from lm_keras.objectives.losses import of_targets

B, T, V = 3, 5, 13
RANDOM = np.random.default_rng(4)
LOGITS = tf.constant(RANDOM.normal(0, 2, [B, T, V]), tf.float32)
TARGETS = tf.constant(RANDOM.integers(0, V, [B, T]), tf.int32)
WEIGHTS = tf.constant([[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 0]], tf.float32)

keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")


def keras_smoothed(label_smoothing):
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, reduction="sum"
    )
    return lambda targets, logits, weights: loss(tf.one_hot(targets, V), logits, sample_weight=weights)


def next_token_loss(logits, *more):
    """The loss of given logits: those are the features, and the output matrix does nothing."""
    vocab_size = logits.shape[-1]
    return losses.next_token_loss(logits, (tf.eye(vocab_size), tf.zeros([vocab_size]), False), *more)


def flat(loss):
    """The objective, then the sums."""
    return [loss.objective, *loss.sums.values()]


WAYS = {
    "eager": next_token_loss,
    "graph": lambda *arguments: in_graph(next_token_loss, *arguments),
    "xla": lambda *arguments: in_graph(next_token_loss, *arguments, jit_compile=True),
}


def in_graph(function, *arguments, **settings):
    *tensors, label_smoothing = arguments
    return tf.function(lambda *given: function(*given, label_smoothing), **settings)(*tensors)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.7])
def test_sums_equal_those_of_keras(label_smoothing, way):
    loss = WAYS[way](LOGITS, TARGETS, WEIGHTS, label_smoothing)
    smoothed = keras_smoothed(label_smoothing)(TARGETS, LOGITS, WEIGHTS)
    np.testing.assert_allclose(loss.objective, smoothed, rtol=1e-5)
    nats = keras_loss(TARGETS, LOGITS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(loss.sums["nats"], nats, rtol=1e-5)
    assert loss.sums["weight"] == 7
    assert all(value.shape == () and value.dtype == tf.float32 for value in flat(loss))
    # The comparison sees a smoothing that is a little too strong.
    wrong = keras_smoothed(label_smoothing + 0.01)(TARGETS, LOGITS, WEIGHTS)
    assert abs(wrong / loss.objective - 1) > 1e-4


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_gradients_equal_those_of_keras(label_smoothing):
    ours = lambda logits: next_token_loss(logits, TARGETS, WEIGHTS, label_smoothing).objective  # noqa: E731
    theirs = lambda logits: keras_smoothed(label_smoothing)(TARGETS, logits, WEIGHTS)  # noqa: E731
    slopes = []
    for loss in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(LOGITS)
            value = loss(LOGITS)
        slopes.append(tape.gradient(value, LOGITS))
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-6)
    assert np.abs(slopes[0]).max() > 0.1
    assert not np.any(tf.boolean_mask(slopes[0], WEIGHTS == 0))
    assert np.all(tf.reduce_any(tf.boolean_mask(slopes[0], WEIGHTS == 1) != 0, -1))


def all_sums(logits, targets, weights=WEIGHTS):
    return flat(next_token_loss(logits, targets, weights, 0.1))


def test_places_of_weight_zero_are_ignored():
    elsewhere = (WEIGHTS == 0).numpy()
    logits, targets = LOGITS.numpy(), TARGETS.numpy()
    logits[elsewhere] = 99.0 * np.arange(V)
    targets[elsewhere] = 0
    np.testing.assert_array_equal(all_sums(logits, targets), all_sums(LOGITS, TARGETS))
    # The control: at a place of weight 1 either change is seen.
    for array in (logits, targets):
        kept = array[2, 3].copy()
        array[2, 3] = (array[2, 3] + 1) % 5
        assert all_sums(logits, targets)[1] != all_sums(LOGITS, TARGETS)[1]
        array[2, 3] = kept


def test_sums_of_parts_add_up_to_the_whole():
    """So micro-batches and replicas may be of any size, and whoever divides does it once."""
    parts = [all_sums(LOGITS[row], TARGETS[row], WEIGHTS[row]) for row in (slice(0, 2), slice(2, 3))]
    np.testing.assert_allclose(np.sum(parts, 0), all_sums(LOGITS, TARGETS), rtol=1e-6)
    means = [part[0] / np.maximum(part[3], 1) for part in parts]
    assert abs(np.mean(means) - all_sums(LOGITS, TARGETS)[0] / 7) > 1e-3  # a mean of means is something else


def test_correct_targets_are_counted():
    logits = tf.constant(
        [[[3, 1, 2], [1, 3, 2], [2, 1, 3], [5, 5, 1]], [[0, 0, 0], [1, 2, 3], [9, 8, 7], [1, 0, 0]]]
    )
    targets = tf.constant([[0, 0, 2, 1], [2, 2, 0, 0]])
    weights = tf.constant([[1, 1, 1, 1], [1, 1, 0, 0.5]])
    # Right are: 0, not 1, 2, a tie, a tie, 3, one without weight, and one of half a weight, which counts as
    # one.
    sums = next_token_loss(tf.cast(logits, tf.float32), targets, weights).sums
    assert (sums["correct"], sums["weight"]) == (6, 6.5)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    accuracy.update_state(TARGETS, LOGITS, sample_weight=WEIGHTS)
    plain = next_token_loss(LOGITS, TARGETS, WEIGHTS).sums
    np.testing.assert_allclose(plain["correct"] / plain["weight"], accuracy.result(), rtol=1e-6)
    best = next_token_loss(LOGITS, tf.argmax(LOGITS, -1, tf.int32), WEIGHTS).sums
    assert best["correct"] == best["weight"] == 7
    assert next_token_loss(LOGITS, tf.argmin(LOGITS, -1, tf.int32), WEIGHTS).sums["correct"] == 0


def test_large_logits_stay_finite():
    loss = next_token_loss(LOGITS * 1e30, TARGETS, WEIGHTS, 0.1)
    assert all(np.isfinite(value) for value in flat(loss))


def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary():
    for label_smoothing in (0.0, 0.4):
        loss = next_token_loss(tf.zeros([B, T, V]), TARGETS, tf.ones([B, T]), label_smoothing)
        np.testing.assert_allclose([loss.sums["nats"], loss.objective], [B * T * np.log(V)] * 2, rtol=1e-6)


def test_nats_of_each_token():
    nats = of_targets(LOGITS, TARGETS)["nats"]
    assert nats.shape == (B, T)
    logits = LOGITS.numpy().astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.take_along_axis(p, TARGETS.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(nats, -np.log(chosen), rtol=1e-5)
    sums = next_token_loss(LOGITS, TARGETS, WEIGHTS).sums
    np.testing.assert_allclose(tf.reduce_sum(nats * WEIGHTS), sums["nats"], rtol=1e-6)


D, ROWS = 4, 3 * 5
OUTPUTS = {
    False: RANDOM.normal(0, 1, [D, V]).astype(np.float32),
    True: RANDOM.normal(0, 1, [V, D]).astype(np.float32),
}
BIAS = RANDOM.normal(0, 1, [V]).astype(np.float32)
FEATURES = RANDOM.normal(0, 1, [B, T, D]).astype(np.float32)


def plain(features, matrix, bias, transposed, label_smoothing, z_loss):
    """The objective from all logits at a time, for TensorFlow to take the derivatives of."""
    logits = (
        tf.cast(tf.einsum("btd,vd->btv" if transposed else "btd,dv->btv", features, matrix), tf.float32)
        + bias
    )
    log_p = tf.nn.log_softmax(logits)
    wanted = (1 - label_smoothing) * tf.one_hot(TARGETS, V) + label_smoothing / V
    losses = -tf.reduce_sum(wanted * log_p, -1) + z_loss * tf.reduce_logsumexp(logits, -1) ** 2
    return tf.reduce_sum(losses * WEIGHTS)


def value_and_slopes(function, dtype=tf.float32, transposed=False, upstream=3.0):
    given = [tf.constant(FEATURES, dtype), tf.constant(OUTPUTS[transposed]), tf.constant(BIAS)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = upstream * function(*given)
    return [value, *(tf.cast(slope, tf.float32) for slope in tape.gradient(value, given))]


PIECES = [(1, False), (4, True), (15, False), (15, True)]
SMOOTHINGS = [(0.0, 0.0), (0.2, 0.0), (0.0, 0.01), (0.3, 0.02)]
FORMS = [(*pieces, *smoothing) for smoothing in SMOOTHINGS for pieces in PIECES]
DIAGONALS = [(*PIECES[k], *SMOOTHINGS[(k + more) % 4]) for k in range(4) for more in (0, 3)]


@pytest.mark.parametrize(("pieces", "transposed", "label_smoothing", "z_loss"), others_slow(FORMS, DIAGONALS))
def test_gradients_in_pieces_equal_those_of_all_logits(
    monkeypatch, pieces, transposed, label_smoothing, z_loss
):
    monkeypatch.setattr(losses, "PIECE_VALUES", ROWS * V if pieces == 1 else -(-ROWS // pieces) * V)

    def ours(features, matrix, bias):
        return losses.next_token_loss(
            features, (matrix, bias, transposed), TARGETS, WEIGHTS, label_smoothing, z_loss
        ).objective

    def theirs(features, matrix, bias):
        return plain(features, tf.cast(matrix, features.dtype), bias, transposed, label_smoothing, z_loss)

    expected = value_and_slopes(theirs, transposed=transposed)
    for way in (ours, tf.function(ours), tf.function(ours, jit_compile=True)):
        found = value_and_slopes(way, transposed=transposed)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    # The control: a weight that is a little too large is seen.
    other = value_and_slopes(
        lambda f, m, b: plain(f, m, b, transposed, label_smoothing, z_loss + 0.001), transposed=transposed
    )
    assert max(np.abs(a - b).max() for a, b in zip(found, other, strict=True)) > 1e-3


def test_no_more_than_a_piece_of_the_logits_is_held(monkeypatch):
    shapes = set()
    original = losses._piece

    def watched(features, *more):
        shapes.add(tuple(features.shape))
        return original(features, *more)

    monkeypatch.setattr(losses, "_piece", watched)
    for values, wanted in [
        (ROWS * V, {(15, D)}),
        (ROWS * V - 1, {(8, D)}),
        (2 * V, {(2, D)}),
        (V, {(1, D)}),
        (4 * V, {(4, D)}),
    ]:
        monkeypatch.setattr(losses, "PIECE_VALUES", values)
        shapes.clear()
        losses.next_token_loss(FEATURES, (OUTPUTS[False], BIAS, False), TARGETS, WEIGHTS)
        assert shapes == wanted


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
@pytest.mark.parametrize("pieces", [1, 4])
def test_short_floats(monkeypatch, dtype, pieces):
    monkeypatch.setattr(losses, "PIECE_VALUES", ROWS * V if pieces == 1 else 4 * V)

    def ours(features, matrix, bias, scale=None):
        return losses.next_token_loss(
            features, (matrix, bias, False), TARGETS, WEIGHTS, scale=scale
        ).objective

    exact = value_and_slopes(ours)
    for one, other in zip(value_and_slopes(ours, dtype), exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.05, atol=0.1)
    assert value_and_slopes(ours, dtype)[0] != exact[0]  # the products are really rounded


@pytest.mark.parametrize(("pieces", "piece"), [(1, None), (4, None), (1, compiled_loss.piece)])
def test_gradients_too_small_for_float16_are_scaled(monkeypatch, pieces, piece):
    monkeypatch.setattr(losses, "PIECE_VALUES", ROWS * V if pieces == 1 else 4 * V)
    matrix, bias = tf.zeros([D, V]), tf.one_hot(0, V) * 20.0  # e^-20 = 2e-9 for all tokens but one

    def slope(scale):
        features = tf.ones([B, T, D], tf.float16)
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            loss = losses.next_token_loss(
                features, (matrix, bias, False), tf.zeros([B, T], tf.int32), WEIGHTS, scale=scale, piece=piece
            )
        return tape.gradient(loss.objective, matrix)[:, 1:].numpy()

    np.testing.assert_allclose(slope(tf.constant(2.0**24)), 7 * np.exp(-20.0), rtol=0.01)
    assert not slope(None).any()


def test_only_the_objective_has_a_gradient():
    features = tf.constant(FEATURES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        loss = losses.next_token_loss(features, (OUTPUTS[False], BIAS, False), TARGETS, WEIGHTS)
    assert tape.gradient(loss.sums["nats"], features) is None
    assert tape.gradient(loss.sums["correct"], features) is None
    assert np.any(tape.gradient(loss.objective, features))


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_new_sum_is_one_row(monkeypatch, pieces):
    monkeypatch.setattr(losses, "PIECE_VALUES", ROWS * V if pieces == 1 else 4 * V)
    usual = next_token_loss(LOGITS, TARGETS, WEIGHTS).sums
    assert tuple(usual) == losses.SUMS
    rows = {"likely": lambda found: found.losses < 2.0, "squares": lambda found: found.losses**2}
    for name, value in rows.items():
        monkeypatch.setitem(losses.OF_TARGETS, name, value)
    monkeypatch.setattr(losses, "SUMS", (*losses.OF_TARGETS, "weight"))
    nats = of_targets(LOGITS, TARGETS)["nats"].numpy()[WEIGHTS.numpy() > 0]
    loss = next_token_loss(LOGITS, TARGETS, 0.5 * WEIGHTS)
    assert loss.sums["likely"] == np.sum(nats < 2) and 0 < loss.sums["likely"] < len(nats)
    np.testing.assert_allclose(loss.sums["squares"], 0.5 * np.sum(nats**2), rtol=1e-6)
    np.testing.assert_allclose(loss.sums["nats"], 0.5 * usual["nats"], rtol=1e-6)
