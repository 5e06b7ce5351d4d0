"""The optimizers of `lm_keras.registry`; the most usual ones update a variable in one pass over it.

Keras writes an update as some ten operations, each of which reads and writes all numbers of a variable: for
Adam more memory traffic than some networks need for their products.
"""

import math
import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from lm_keras import registry
from lm_keras.config import LearningConfig

Gradient, Variable = tf.Tensor | tf.IndexedSlices, keras.Variable | tf.Variable


@keras.saving.register_keras_serializable(package="lm_keras", name="SGD")
class SGD(keras.optimizers.SGD):
    """Keras's SGD, with momentum or without, in one operation a variable.

    Attributes:
        plain: whether an update is the gradient times the learning rate and nothing else.
        factor: what else an update is multiplied by, if it is plain; `apply` sets it.
    """

    factor = 1.0

    @property
    def plain(self) -> bool:
        return not (self.momentum or self.weight_decay)

    def update_step(self, gradient: Gradient, variable: Variable, learning_rate: tf.Tensor) -> None:
        """Update a variable and its slots, as Keras's class does."""
        rate = tf.cast(learning_rate, tf.float32)
        if not self.momentum:
            _descend(_handle(variable), rate * self.factor, gradient)
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

    def update_step(self, gradient: Gradient, variable: Variable, learning_rate: tf.Tensor) -> None:
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


@keras.saving.register_keras_serializable(package="lm_keras", name="Adam")
class Adam(_OnePassAdam, keras.optimizers.Adam):
    """Keras's Adam in one operation a variable."""


@keras.saving.register_keras_serializable(package="lm_keras", name="AdamW")
class AdamW(_OnePassAdam, keras.optimizers.AdamW):
    """Keras's AdamW in one operation a variable, beside that of the decay."""


def with_head_rate(
    kind: type[keras.optimizers.Optimizer], factor: float, head: set[int]
) -> type[keras.optimizers.Optimizer]:
    """Return an optimizer whose updates of some variables have another learning rate, decay included.

    Args:
        kind: the optimizer.
        factor: on the learning rate.
        head: places of the variables among those that the optimizer is built with.
    """

    class WithHeadRate(kind):
        def update_step(self, gradient, variable, learning_rate):
            """Update a variable and its slots, as the class above does."""
            here = factor if self._get_variable_index(variable) in head else 1.0
            super().update_step(gradient, variable, learning_rate * here)

        def _apply_weight_decay(self, variables):
            """Keras multiplies the decay of all variables by one learning rate."""
            places = [self._get_variable_index(variable) for variable in variables]
            super()._apply_weight_decay([v for v, place in zip(variables, places) if place not in head])
            usual = {name: getattr(self, name, None) for name in ("weight_decay", "adam_weight_decay")}
            decays = {name: value for name, value in usual.items() if value is not None}
            for name, value in decays.items():
                setattr(self, name, value * factor)
            super()._apply_weight_decay([v for v, place in zip(variables, places) if place in head])
            for name, value in decays.items():
                setattr(self, name, value)

    WithHeadRate.__name__ = kind.__name__
    return WithHeadRate


def takes_rows(optimizer: keras.optimizers.Optimizer) -> bool:
    """Tell whether an update changes nothing where the gradient is zero, so that rows in use are enough."""
    return isinstance(optimizer, SGD) and optimizer.plain


def summed_rows(gradient: Gradient) -> Gradient:
    """Return a gradient; of a sparse one, the sum of the rows of each token once, followed by rows
    of zeros.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    count = gradient.indices.shape[0]
    tokens, place = tf.unique(gradient.indices)
    indices = tf.pad(tokens, [[0, count - tf.size(tokens)]])
    values = tf.math.unsorted_segment_sum(gradient.values, place, count)
    return tf.IndexedSlices(values, tf.ensure_shape(indices, [count]), gradient.dense_shape)


def apply(
    optimizer: keras.optimizers.Optimizer,
    gradients: list[Gradient],
    factor: tf.Tensor,
    variables: list[Variable],
) -> None:
    """Update variables by gradients times a factor.

    Plain SGD takes the factor into its learning rate, so that the gradients are read once and never written;
    that may be a tenth of a step.

    Args:
        optimizer: as `build` makes it.
        gradients: one for each variable; `tf.IndexedSlices` with each row once for those that `takes_rows`.
        factor: float32 scalar.
        variables: what to update.
    """
    if takes_rows(optimizer):
        optimizer.factor = factor
        optimizer.apply(gradients, variables)
        optimizer.factor = 1.0
    else:
        optimizer.apply([gradient * factor for gradient in gradients], variables)


def _descend(handle: tf.Tensor, rate: tf.Tensor, gradient: Gradient) -> None:
    if isinstance(gradient, tf.IndexedSlices):
        tf.raw_ops.ResourceScatterSub(
            resource=handle, indices=gradient.indices, updates=rate * gradient.values
        )
    else:
        tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=rate, delta=gradient)


def _handle(variable: Variable) -> tf.Tensor:
    """Return the resource of a variable: of this device's copy, where a strategy has several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    name: globals().get(row.kind) or getattr(keras.optimizers, row.kind)
    for name, row in registry.OPTIMIZERS.items()
}
"""The classes by name."""

ONE_PASS = {name for name, kind in OPTIMIZERS.items() if kind.__module__ == __name__}
"""Those whose update makes no intermediate results."""

NOT_BY_MUON = r"(^|/)(embeddings|output_kernel|places|segments|within)$"
"""Paths of the matrices that Muon leaves to AdamW, as its authors do: tables that are looked up by a token, a
position or a segment, and the matrix that turns features into logits. They are not maps between features."""


def build(
    config: LearningConfig, variables: list[Variable], head: Sequence[Variable] = ()
) -> keras.optimizers.Optimizer:
    """Build the optimizer of a run, with its slots for `variables`.

    Clipping is not its business: Keras would clip before the gradients of the replicas are summed.
    Weight decay acts on matrices only. In float16 the optimizer is wrapped into loss scaling.

    Args:
        config: the learning settings.
        variables: the trainable variables of the network.
        head: those of them for which `--head_learning_rate` is.
    """
    row = registry.OPTIMIZERS[config.optimizer]
    arguments = {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay or None}
    arguments.update(row.arguments)
    if config.optimizer == "adamw":
        arguments["weight_decay"] = config.weight_decay
    if config.optimizer == "muon":
        # What Muon leaves to AdamW would decay by 0.004 else.
        arguments["adam_weight_decay"] = config.weight_decay
        arguments["exclude_layers"] = [NOT_BY_MUON]
    if row.betas:
        betas = {"beta_1": config.beta_1, "beta_2": config.beta_2}
        arguments.update({name: value for name, value in betas.items() if value is not None})
    kind = OPTIMIZERS[config.optimizer]
    if config.head_learning_rate is not None:
        of_head = {id(variable) for variable in head}
        places = {place for place, variable in enumerate(variables) if id(variable) in of_head}
        kind = with_head_rate(kind, config.head_learning_rate / config.learning_rate, places)
    optimizer = kind(**arguments)
    # The same variables that `objectives.regularizers.is_matrix` leaves out.
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def update_flops(config: LearningConfig, variables: list[Variable]) -> int:
    """Return the FLOPs of one update of all weights, counted from their shapes.

    Muon multiplies the momentum of every matrix that it does not leave to AdamW with itself: five
    Newton-Schulz iterations of three products (Jordan et al., 2024).
    """
    flops = registry.OPTIMIZERS[config.optimizer].flops * sum(math.prod(v.shape) for v in variables)
    if config.optimizer == "muon":
        for variable in variables:
            if len(variable.shape) == 2 and not re.search(NOT_BY_MUON, variable.path):
                small, large = sorted(variable.shape)
                flops += 5 * 2 * (2 * small * small * large + small**3)
    return flops
