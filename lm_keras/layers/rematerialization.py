"""Values that the gradient computes again instead of keeping them."""

from collections.abc import Callable

import tensorflow as tf


def computed_again(compute: Callable[..., tf.Tensor], *arguments: tf.Tensor) -> tf.Tensor:
    """Return `compute(*arguments)`, of which the gradient keeps the arguments only.

    Reference: Chen et al. (2016), section 3.
    """

    @tf.custom_gradient
    def once(*arguments):
        def gradient(d_outputs):
            with tf.control_dependencies([d_outputs]):  # Else it would be computed at once, and kept.
                again = [tf.identity(argument) for argument in arguments]
            with tf.GradientTape() as tape:
                tape.watch(again)
                outputs = compute(*again)
            return tape.gradient(outputs, again, d_outputs)

        return compute(*arguments), gradient

    return once(*arguments)
