"""The loss with XLA's programs between its products, beside the one of TensorFlow's operations: rows B 4,
time T 5, width D 7, vocabulary V 19.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow

from lm_keras.objectives import compiled_loss, losses

B, T, D, V = 4, 5, 7, 19
RANDOM = np.random.default_rng(6)
FEATURES = RANDOM.normal(size=[B, T, D])
MATRIX, BIAS = RANDOM.normal(size=[D, V]), RANDOM.normal(size=V)
TARGETS = tf.constant(RANDOM.integers(0, V, [B, T]), tf.int32)
WEIGHTS = RANDOM.choice([0.0, 1.0, 0.25], [B, T])
SMOOTHINGS = [(0.0, 0.0), (0.2, 0.0), (0.0, 0.01), (0.3, 0.02)]
"""`label_smoothing` and `z_loss`."""


def given(dtype=tf.float32, transposed=False, biased=True):
    """Return features, matrix and, where wanted, bias."""
    values = [FEATURES, MATRIX.T if transposed else MATRIX, *[BIAS] * biased]
    return [tf.constant(value, dtype) for value in values]


def traced(piece, dtype=tf.float32, transposed=False, rows=B, smoothing=(0.0, 0.0), scale=None):
    """Return a function from `values` to the objective, the sums and the gradients of a multiple of the
    objective.
    """
    weights = tf.constant(WEIGHTS[:rows], dtype)

    @tf.function(autograph=False)
    def results(values):
        features, matrix, *bias = values
        with tf.GradientTape() as tape:
            tape.watch(values)
            output = matrix, *(bias or [None]), transposed
            loss = losses.next_token_loss(
                features[:rows], output, TARGETS[:rows], weights, *smoothing, scale, piece
            )
            objective = 3.0 * loss.objective
        return [objective, *loss.sums.values(), *tape.gradient(objective, values)]

    return results


def furthest(ones, others):
    """Return the largest difference, relative to the largest value of its tensor."""
    pairs = [
        [np.asarray(tf.cast(value, tf.float64)) for value in pair] for pair in zip(ones, others, strict=True)
    ]
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs)


def programs(results, values):
    """Return how many programs are compiled by XLA."""
    graph = results.get_concrete_function(values).graph.as_graph_def()
    loops = (node for function in graph.library.function for node in function.node_def)
    return sum(node.attr["_XlaMustCompile"].b for node in (*graph.node, *loops))


GROUPS, ONE_GROUP = 4, 3
"""Rows that are even in number, and rows that are not."""

FORMS = list(itertools.product(SMOOTHINGS, (GROUPS, ONE_GROUP), (False, True), (False, True)))
EACH_PAIR = [
    (SMOOTHINGS[0], GROUPS, False, False), (SMOOTHINGS[0], ONE_GROUP, True, True),
    (SMOOTHINGS[1], GROUPS, True, False), (SMOOTHINGS[1], ONE_GROUP, False, True),
    (SMOOTHINGS[2], GROUPS, False, True), (SMOOTHINGS[2], ONE_GROUP, True, False),
    (SMOOTHINGS[3], GROUPS, True, True), (SMOOTHINGS[3], ONE_GROUP, False, False),
]  # fmt: skip
"""Every two values of two of these come together."""


@pytest.mark.parametrize(("smoothing", "rows", "transposed", "biased"), others_slow(FORMS, EACH_PAIR))
def test_equals_the_loss_of_tensorflow_with_its_gradients(smoothing, rows, transposed, biased):
    values = given(transposed=transposed, biased=biased)
    ways = [traced(piece, tf.float32, transposed, rows, smoothing) for piece in (compiled_loss.piece, None)]
    ours, expected = (way(values) for way in ways)
    assert furthest(ours, expected) < 2e-6
    # The control: a weight that is a little too large is seen.
    other = traced(None, tf.float32, transposed, rows, (smoothing[0], smoothing[1] + 0.001))(values)
    assert furthest(ours, other) > 1e-4


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_gradients_are_what_finite_differences_say_in_float64(smoothing):
    values = given(tf.float64)
    compute = traced(compiled_loss.piece, tf.float64, smoothing=smoothing)
    gradients = compute(values)[-len(values) :]
    random = np.random.default_rng(8)
    for place, gradient in enumerate(gradients):
        direction = random.normal(size=gradient.shape)
        moved = [
            [v + e * direction if k == place else v for k, v in enumerate(values)] for e in (1e-6, -1e-6)
        ]
        above, below = (compute(each)[0] for each in moved)
        assert abs((above - below) / 2e-6 / tf.reduce_sum(gradient * direction) - 1) < 1e-7


@pytest.mark.parametrize(
    ("values", "replicas", "expected"), [(2**23, 1, 2), (2**23, 2, 1), (10 * V, 1, 2), (5 * V, 1, 1)]
)
def test_two_programs_where_rows_are_even_and_nobody_else_has_the_core(
    monkeypatch, values, replicas, expected
):
    """Of all rows at once, or of each piece of them."""
    monkeypatch.setattr(losses, "PIECE_VALUES", values)
    if replicas > 1:
        monkeypatch.setattr(
            tf.distribute, "get_strategy", lambda: type("Both", (), {"num_replicas_in_sync": replicas})
        )
    ours, plain = traced(compiled_loss.piece), traced(None)
    assert furthest(ours(given()), plain(given())) < 2e-6
    assert (programs(ours, given()), programs(plain, given())) == (expected, 0)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_short_floats_round_what_is_multiplied(dtype):
    def results(piece, dtype, scale=None):
        def narrow(values):
            return [tf.cast(values[0], dtype), *values[1:]]

        return traced(piece, scale=scale)(narrow(given()))

    ours, exact = results(compiled_loss.piece, dtype), results(compiled_loss.piece, tf.float32)
    assert [value.dtype for value in ours[-3:]] == [dtype, tf.float32, tf.float32]
    assert 1e-4 < furthest(ours, exact) < 0.05
    assert furthest(ours, results(None, dtype)) < 0.02
    scaled = results(compiled_loss.piece, dtype, tf.constant(2.0**10))
    assert furthest(scaled, exact) < 0.05


def test_a_loss_that_is_not_finite_is_said():
    wild = [tf.constant(FEATURES * 1e30, tf.float32), *given()[1:]]
    wild[1] *= 1e30
    assert not np.isfinite(traced(compiled_loss.piece)(wild)[0])
