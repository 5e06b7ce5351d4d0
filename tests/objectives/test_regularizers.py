import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.objectives import regularizers
from lm_keras.objectives.regularizers import add_penalties, is_matrix

RANDOM = np.random.default_rng(4)


def variables():
    """A matrix with a zero in it, a bias, a matrix of Keras, and a stack of matrices."""
    matrix = RANDOM.normal(size=[5, 7])
    matrix[2, 3] = 0
    values = [matrix, RANDOM.normal(size=[7]), RANDOM.normal(size=[7, 3]), RANDOM.normal(size=[2, 3, 5])]
    kinds = [tf.Variable, tf.Variable, keras.Variable, tf.Variable]
    return [kind(value.astype(np.float32)) for kind, value in zip(kinds, values)]


def penalty_gradients(given, l1, l2, which):
    """By autodiff: the gradients of Keras's own penalty, summed over the variables that `which` names."""
    penalty = keras.regularizers.L1L2(l1, l2)
    tensors = [tf.convert_to_tensor(variable) for variable in given]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = tf.add_n([penalty(tensor) for tensor in tensors if which(tensor)])
    return tape.gradient(total, tensors, unconnected_gradients="zero")


def equal(ours, theirs):
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.7), (0.05, 0.11)])
def test_equal_to_the_gradients_of_keras_penalties(l1, l2, compiled):
    given = variables()
    slopes = [tf.constant(RANDOM.normal(size=variable.shape), tf.float32) for variable in given]
    add = tf.function(add_penalties) if compiled else add_penalties
    ours = add(slopes, given, l1, l2)
    theirs = [a + b for a, b in zip(slopes, penalty_gradients(given, l1, l2, lambda value: value.ndim >= 2))]
    assert equal(ours, theirs)
    np.testing.assert_array_equal(ours[1], slopes[1])  # the bias
    # Controls: a penalty on the bias too, and one that is twice as strong.
    assert not equal(
        ours, [a + b for a, b in zip(slopes, penalty_gradients(given, l1, l2, lambda value: True))]
    )
    assert not equal(add(slopes, given, 2 * l1, 2 * l2), theirs)


def test_nothing_is_added_at_zero():
    given = variables()
    slopes = [tf.ones(variable.shape) for variable in given]
    assert add_penalties(slopes, given, 0.0, 0.0) is slopes


def test_what_a_matrix_is():
    assert [is_matrix(variable) for variable in variables()] == [True, False, True, True]


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(regularizers)
    assert found.attempted == 2
    assert found.failed == 0
