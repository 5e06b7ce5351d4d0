"""L1 and L2 penalties, as gradients that are added once, after the gradients of all replicas were summed."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def is_matrix(variable: keras.Variable | tf.Variable) -> bool:
    """Tell whether penalties and weight decay act on a variable: on matrices, not on biases."""
    return len(variable.shape) >= 2


def add_penalties(
    gradients: Sequence[tf.Tensor | tf.IndexedSlices],
    variables: Sequence[keras.Variable | tf.Variable],
    l1: float,
    l2: float,
) -> Sequence[tf.Tensor | tf.IndexedSlices]:
    """Add the gradient of l1 * sum |w| + l2 * sum w^2 over all matrices.

    The same as `keras.regularizers.L1L2(l1, l2)` on every matrix of the network.

    Args:
        gradients: one tensor for each variable.
        variables: the trainable variables.
        l1, l2: strengths; 0 adds nothing.

    Example:
        >>> w = tf.Variable([[2.0, -1.0]])
        >>> add_penalties([tf.zeros([1, 2])], [w], l1=0.5, l2=0.25)[0].numpy().tolist()
        [[1.5, -1.0]]
    """
    if not l1 and not l2:
        return gradients

    def penalized(gradient: tf.Tensor, variable: keras.Variable | tf.Variable) -> tf.Tensor:
        if not is_matrix(variable):
            return gradient
        value = tf.convert_to_tensor(variable)
        return gradient + l1 * tf.sign(value) + 2.0 * l2 * value

    return [penalized(gradient, variable) for gradient, variable in zip(gradients, variables)]
