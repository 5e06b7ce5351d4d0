"""Gradients of rows, clipped to a norm and summed.

Ghost norms: the norm of what a row adds to a matrix follows from the inputs of its product and from the
gradient of the product's result. So one backward pass up to these results is enough; then the results'
gradients are scaled row by row, and products over all rows give the sums.

Shapes: B rows, T positions of a row, R = B T, D and K widths, V vocabulary.

Reference: Goodfellow (2015), "Efficient per-example gradient computations"; Li et al. (2022), "Large language
models can be strong differentially private learners", section 4; Bu et al. (2022), "Differentially private
optimization on large model at small cost", on book-keeping.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.data.batch import Batch
from lm_keras.layers import taps
from lm_keras.layers.normalization import normalized
from lm_keras.objectives.losses import OF_TARGETS, SUMS, predicted, summed

Sums = dict[str, tf.Tensor]
Objective = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, Sums]]


def row_objective(label_smoothing: float = 0.0, z_loss: float = 0.0) -> Objective:
    """Return a function that sums the losses of rows: logits [B, K, V], targets [B, K], weights [B, K] -> a
    scalar and `SUMS`.

    The loss of a row is the sum over its targets, divided by K. That is a constant: the number of targets
    belongs to what is protected.
    """

    def objective(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, Sums]:
        logits = tf.reshape(logits, [-1, logits.shape[-1]])
        each = tf.reshape(weights, [-1]) / targets.shape[-1]
        weights, targets = tf.reshape(weights, [-1]), tf.reshape(targets, [-1])

        @tf.custom_gradient
        def total(logits):
            found = predicted(logits, targets)
            normalizer = found.losses + found.chosen
            terms, pull = found.losses, 0.0
            if label_smoothing:
                uniform = normalizer - tf.reduce_mean(logits, -1)
                terms = (1 - label_smoothing) * terms + label_smoothing * uniform
            if z_loss:
                terms += z_loss * normalizer**2
                pull = (2 * z_loss * normalizer)[:, None]

            def gradient(d_total, *_):
                of_target = tf.range(logits.shape[-1])[None] == targets[:, None]
                d_logits = found.probabilities * (1 + pull) - label_smoothing / logits.shape[-1]
                d_logits = tf.where(of_target, d_logits - (1 - label_smoothing), d_logits)
                return d_logits * (each * d_total)[:, None]

            sums = [summed(value(found), weights) for value in OF_TARGETS.values()]
            return (tf.reduce_sum(terms * each), *sums), gradient

        found, *sums = total(logits)
        return found, dict(zip(SUMS, [*map(tf.stop_gradient, sums), tf.reduce_sum(weights)]))

    return objective


def mapped(
    model: keras.Model, batch: Batch, objective: Objective, clip: float, variables: Sequence[keras.Variable]
) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
    """Sum the clipped gradients of rows, each of which is formed; B times the parameters are held.

    Args:
        model: the network.
        batch: rows, each of which starts from nothing.
        objective: see `row_objective`.
        clip: largest norm.
        variables: of which the gradient is taken.

    Returns:
        A sum for each variable, the sums of the losses, and the norms [B] before clipping.
    """

    def one(row: Batch) -> tuple[list[tf.Tensor], Sums]:
        inputs, targets, weights = tf.nest.map_structure(lambda value: value[None], row)
        with tf.GradientTape() as tape:
            features, _ = model.forward(inputs, model.initial_state(1))
            loss, sums = objective(model.project(features), targets, weights)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        return [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients], sums

    gradients, sums = tf.vectorized_map(one, tuple(batch), fallback_to_while_loop=False)
    squares = [tf.reduce_sum(tf.reshape(tf.square(g), [g.shape[0], -1]), 1) for g in gradients]
    norms = tf.sqrt(tf.add_n(squares))
    scale = _scale(norms, clip)
    gradients = [tf.tensordot(scale, _kept(g, scale), 1) for g in gradients]
    return gradients, {name: tf.reduce_sum(value) for name, value in sums.items()}, norms


def ghost(
    model: keras.Model, batch: Batch, objective: Objective, clip: float, variables: Sequence[keras.Variable]
) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
    """Sum the clipped gradients of rows in one backward pass; arguments and result as those of `mapped`.

    Args:
        model: a network that hands over all uses of its weights, see `lm_keras.layers.taps`.
    """
    inputs, targets, weights = batch
    tape = tf.GradientTape(watch_accessed_variables=False)
    with tape, taps.recording(tape.watch) as found:
        features, _ = model.forward(inputs, model.initial_state(targets.shape[0]))
        loss, sums = objective(model.project(features), targets, weights)
    gradients = tape.gradient(loss, [tap.result for tap in found])
    learnt = {id(variable) for variable in variables}
    parts = _merged([_use_of(tap, gradient, learnt) for tap, gradient in zip(found, gradients)], variables)
    squares = [use.squares() for use in parts]
    tables = {id(use.weights[0]): use for use in parts if isinstance(use, _Lookup)}
    for use in parts:
        if isinstance(use, _Product) and use.transposed and (table := tables.get(id(use.weights[0]))):
            squares.append(2 * use.times_lookup(table))
    norms = tf.sqrt(tf.add_n(squares))
    scale = _scale(norms, clip)
    totals: dict[int, tf.Tensor] = {}
    for use in parts:
        for variable, total in zip(use.weights, use.total(scale)):
            before = totals.get(id(variable))
            totals[id(variable)] = total if before is None else before + total
    return [totals[id(variable)] for variable in variables], sums, norms


def _scale(norms: tf.Tensor, clip: float) -> tf.Tensor:
    """Return what gradients of rows are multiplied by, [B]; 0 where the norm is not finite."""
    return tf.where(tf.math.is_finite(norms), tf.minimum(1.0, clip / norms), 0.0)


def _kept(values: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return values of rows [B, ...], and 0 for rows that do not count, whatever they hold."""
    counts = tf.reshape(scale > 0, [-1] + [1] * (len(values.shape) - 1))
    return tf.where(counts, values, tf.zeros([], values.dtype))


class _Product:
    """Uses of one or two kernels and a bias: inputs [B, T, D], gradients of the result [B, T, K]."""

    def __init__(
        self,
        inputs: list[tf.Tensor],
        gradient: tf.Tensor,
        weights: list[keras.Variable],
        transposed: bool,
    ):
        self.inputs, self.gradient, self.weights, self.transposed = inputs, gradient, weights, transposed
        self.biased = len(weights) > len(inputs)

    def squares(self) -> tf.Tensor:
        """Return the squared norms [B] of the gradients, of kernels and bias together."""
        gradient = tf.cast(self.gradient, tf.float32)
        inputs = tf.concat([tf.cast(part, tf.float32) for part in self.inputs], -1)
        (time, width), outputs = inputs.shape[1:], gradient.shape[-1]
        if time * (width + outputs) < width * outputs:
            found = tf.reduce_sum(_gram(inputs) * _gram(gradient), [1, 2])
        else:
            found = tf.reduce_sum(tf.square(tf.matmul(inputs, gradient, transpose_a=True)), [1, 2])
        if self.biased:
            found += tf.reduce_sum(tf.square(tf.reduce_sum(gradient, 1)), 1)
        return found

    def times_lookup(self, table: "_Lookup") -> tf.Tensor:
        """Return the inner products [B] with the gradients of a table that also is this kernel."""
        (features,) = self.inputs
        positions = features.shape[1]
        index = tf.repeat(table.index[:, None], positions, 1)  # [B, T, S]
        drawn = tf.gather(tf.cast(self.gradient, tf.float32), index, batch_dims=2)
        other = tf.cast(table.gradient, tf.float32)
        return tf.reduce_sum(
            drawn * tf.matmul(tf.cast(features, tf.float32), other, transpose_b=True), [1, 2]
        )

    def total(self, scale: tf.Tensor) -> list[tf.Tensor]:
        """Return the sums of the scaled gradients.

        In float32: a sum over all rows that is rounded to a short format moves by more than one row may.
        """
        gradient = tf.cast(_kept(self.gradient, scale), tf.float32) * scale[:, None, None]
        gradient, found = tf.reshape(gradient, [-1, gradient.shape[-1]]), []
        for part in self.inputs:
            part = tf.cast(tf.reshape(_kept(part, scale), [-1, part.shape[-1]]), tf.float32)
            first, second = (gradient, part) if self.transposed else (part, gradient)
            found.append(tf.matmul(first, second, transpose_a=True))
        return [*found, *([tf.reduce_sum(gradient, 0)] if self.biased else [])]


class _Lookup:
    """Uses of a table: index [B, T], gradients of what was looked up [B, T, D]."""

    def __init__(self, index: tf.Tensor, gradient: tf.Tensor, table: keras.Variable):
        self.index, self.gradient, self.weights = index, gradient, [table]

    def squares(self) -> tf.Tensor:
        """Return the squared norms [B]: equal indices of a row add up first."""
        same = tf.cast(self.index[:, :, None] == self.index[:, None, :], tf.float32)
        return tf.reduce_sum(same * _gram(tf.cast(self.gradient, tf.float32)), [1, 2])

    def total(self, scale: tf.Tensor) -> list[tf.Tensor]:
        """Return the sum of the scaled gradients."""
        gradient = tf.cast(_kept(self.gradient, scale), tf.float32) * scale[:, None, None]
        flat = tf.reshape(gradient, [-1, gradient.shape[-1]])
        (table,) = self.weights
        return [tf.math.unsorted_segment_sum(flat, tf.reshape(self.index, [-1]), table.shape[0])]


class _Vectors:
    """Gradients of vectors, formed for each row, [B, D] each."""

    def __init__(self, gradients: list[tf.Tensor], weights: list[keras.Variable]):
        self.gradients, self.weights = gradients, weights

    def squares(self) -> tf.Tensor:
        """Return the squared norms [B]."""
        return tf.add_n([tf.reduce_sum(tf.square(gradient), 1) for gradient in self.gradients])

    def total(self, scale: tf.Tensor) -> list[tf.Tensor]:
        """Return the sums of the scaled gradients."""
        return [tf.linalg.matvec(_kept(g, scale), scale, transpose_a=True) for g in self.gradients]


_Use = _Product | _Lookup | _Vectors


def _use_of(tap: taps.Tap, gradient: tf.Tensor, learnt: set[int]) -> _Use | None:
    """Return a use of weights that are learnt, or None if none of them is."""
    gradient = tap.by_row(gradient)
    if isinstance(tap, taps.LookupTap):
        index = tf.reshape(tap.index, [tap.rows, -1]) if tap.rows else tf.transpose(tap.index)
        return _Lookup(index, gradient, tap.table) if id(tap.table) in learnt else None
    bias = [] if tap.bias is None or id(tap.bias) not in learnt else [tap.bias]
    if isinstance(tap, taps.ProductTap):
        pairs = [(part, kernel) for part, kernel in zip(tap.inputs, tap.kernels) if id(kernel) in learnt]
        if pairs:
            inputs, kernels = [tap.by_row(part) for part, _ in pairs], [kernel for _, kernel in pairs]
            return _Product(inputs, gradient, kernels + bias, tap.transposed)
    gradients, weights = [tf.reduce_sum(tf.cast(gradient, tf.float32), 1)] * len(bias), bias
    if isinstance(tap, taps.NormTap) and id(tap.gain) in learnt:
        values = tf.cast(tap.values, tf.float32)
        normal = tap.by_row(normalized(tap.kind, values, tf.ones(values.shape[-1:]), None, tap.epsilon))
        gradients = [tf.reduce_sum(tf.cast(gradient, tf.float32) * normal, 1), *gradients]
        weights = [tap.gain, *weights]
    return _Vectors(gradients, weights) if weights else None


def _merged(uses: list[_Use | None], variables: Sequence[keras.Variable]) -> list[_Use]:
    """Return the uses of weights, those of groups of rows put together.

    Raises:
        ValueError: a variable has none.
    """
    groups: dict[Any, list[_Use]] = {}
    for use in filter(None, uses):
        groups.setdefault((type(use), *map(id, use.weights)), []).append(use)
    used = {id(weight) for same in groups.values() for weight in same[0].weights}
    if missing := [variable.path for variable in variables if id(variable) not in used]:
        raise ValueError(f"the network does not hand over how it uses {', '.join(missing)}")
    return [_concatenated(same) for same in groups.values()]


def _concatenated(uses: list[_Use]) -> _Use:
    first, *rest = uses
    if not rest:
        return first
    if isinstance(first, _Product):
        first.inputs = [tf.concat(parts, 0) for parts in zip(*(use.inputs for use in uses))]
        first.gradient = tf.concat([use.gradient for use in uses], 0)
    elif isinstance(first, _Lookup):
        first.index = tf.concat([use.index for use in uses], 0)
        first.gradient = tf.concat([use.gradient for use in uses], 0)
    else:
        first.gradients = [tf.concat(parts, 0) for parts in zip(*(use.gradients for use in uses))]
    return first


def _gram(values: tf.Tensor) -> tf.Tensor:
    """Return the inner products of the positions of each row, [B, T, T]."""
    return tf.matmul(values, values, transpose_b=True)
