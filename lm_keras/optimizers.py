"""Optimizers by name, from Keras; the most usual ones update a variable in one pass over it.

Keras writes an update as some ten operations, each of which reads and writes all numbers of a variable: for Adam more
memory traffic than some networks need for their products.
"""

import math

import keras
import tensorflow as tf

from lm_keras.config import WITH_BETAS, LearningConfig


class SGD(keras.optimizers.SGD):
    """Keras's SGD, with momentum or without, in one operation a variable."""

    def update_step(self, gradient, variable, learning_rate):
        """Update a variable and its slots, as Keras's class does."""
        rate = tf.cast(learning_rate, tf.float32)
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(var=_handle(variable), alpha=rate, delta=gradient)
            return
        slot = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=_handle(variable),
            accum=_handle(slot),
            lr=rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class _OnePassAdam:
    """Adam's update in one operation; Kingma and Ba (2015), the formulation just before section 2.1."""

    def update_step(self, gradient, variable, learning_rate):
        """Update a variable and its slots, as Keras's class does."""
        index, step = self._get_variable_index(variable), tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Adam(_OnePassAdam, keras.optimizers.Adam):
    """Keras's Adam in one operation a variable."""


class AdamW(_OnePassAdam, keras.optimizers.AdamW):
    """Keras's AdamW in one operation a variable, beside that of the decay."""


def _handle(variable):
    """Return the resource of a variable: of this device's copy, where a strategy has several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


OPTIMIZERS = {
    "sgd": SGD,
    "momentum": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adafactor": keras.optimizers.Adafactor,
    "lion": keras.optimizers.Lion,
    "lamb": keras.optimizers.Lamb,
    "muon": keras.optimizers.Muon,
}
"""`momentum` is SGD with momentum 0.9. Only optimizers that need no gradient of their own are here."""

ONE_PASS = {name for name, kind in OPTIMIZERS.items() if kind.__module__ == __name__}
"""Those whose update makes no intermediate results."""

UPDATE_FLOPS = {
    "sgd": 8, "momentum": 10, "adam": 18, "adamw": 18, "nadam": 24, "adamax": 17, "adagrad": 13, "adadelta": 23,
    "rmsprop": 15, "adafactor": 20, "lion": 15, "lamb": 24, "muon": 31,
}  # fmt: skip
"""Operations a parameter, from summed gradients to new weights: norm, division with clipping, decay, the optimizer."""


def build(config: LearningConfig, variables) -> keras.optimizers.Optimizer:
    """Build the optimizer of a run, with its slots for `variables`.

    Clipping is not its business: Keras would clip before the gradients of the replicas are summed.
    Weight decay acts on matrices only. In float16 the optimizer is wrapped into loss scaling.

    Args:
        config: the learning settings.
        variables: the trainable variables of the network.
    """
    arguments = {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay or None}
    if config.optimizer == "adamw":
        arguments["weight_decay"] = config.weight_decay
    if config.optimizer == "muon":
        # What Muon leaves to AdamW, the embedding, would decay by 0.004 else.
        arguments["adam_weight_decay"] = config.weight_decay
    if config.optimizer == "momentum":
        arguments["momentum"] = 0.9
    if config.optimizer in WITH_BETAS:
        betas = {"beta_1": config.beta_1, "beta_2": config.beta_2}
        arguments.update({name: value for name, value in betas.items() if value is not None})
    optimizer = OPTIMIZERS[config.optimizer](**arguments)
    # The same variables that `objectives.regularizers.is_matrix` leaves out.
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def update_flops(config: LearningConfig, variables) -> int:
    """Return the FLOPs of one update of all weights, counted from their shapes.

    Muon multiplies the momentum of every matrix that is no embedding with itself: five Newton-Schulz iterations of
    three products (Jordan et al., 2024).
    """
    flops = UPDATE_FLOPS[config.optimizer] * sum(math.prod(variable.shape) for variable in variables)
    if config.optimizer == "muon":
        for variable in variables:
            if len(variable.shape) == 2 and "embedding" not in variable.path:
                small, large = sorted(variable.shape)
                flops += 5 * 2 * (2 * small * small * large + small**3)
    return flops
