"""Gradients of rows, clipped to a norm and summed.

Ghost norms: the norm of what a row adds to a matrix follows from the inputs of its product and from the
gradient of the product's result. So one backward pass up to these results is enough; then what goes into
products over all rows is scaled row by row, and they give the sums.

Shapes: B rows.

Reference: Goodfellow (2015), "Efficient per-example gradient computations"; Li et al. (2022), "Large language
models can be strong differentially private learners", section 4; Bu et al. (2022), "Differentially private
optimization on large model at small cost", on book-keeping.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.data.batch import Batch
from lm_keras.layers import taps
from lm_keras.privacy.row_loss import Objective, Sums
from lm_keras.privacy.weight_uses import LookupUse, ProductUse, Use, kept, uses_of


def mapped(
    model: keras.Model,
    batch: Batch,
    objective: Objective,
    clip: float,
    variables: Sequence[keras.Variable],
    compiled: bool = False,
) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
    """Sum the clipped gradients of rows, each of which is formed; B times the parameters are held.

    Args:
        model: the network.
        batch: rows, each of which starts from nothing.
        objective: see `lm_keras.privacy.row_loss`.
        clip: largest norm.
        variables: of which the gradient is taken.
        compiled: whether XLA compiles it.

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

    def of_rows(batch: Batch) -> tuple[list[tf.Tensor], Sums]:
        return tf.vectorized_map(one, tuple(batch), fallback_to_while_loop=False)

    gradients, sums = _run(of_rows, compiled)(batch)
    squares = [tf.reduce_sum(tf.reshape(tf.square(g), [g.shape[0], -1]), 1) for g in gradients]
    norms = tf.sqrt(tf.add_n(squares))
    scale = _scale(norms, clip)
    gradients = [tf.tensordot(scale, kept(g, scale), 1) for g in gradients]
    return gradients, {name: tf.reduce_sum(value) for name, value in sums.items()}, norms


def ghost(
    model: keras.Model,
    batch: Batch,
    objective: Objective,
    clip: float,
    variables: Sequence[keras.Variable],
    compiled: bool = False,
) -> tuple[list[tf.Tensor], Sums, tf.Tensor]:
    """Sum the clipped gradients of rows in one backward pass; arguments and result as those of `mapped`.

    Args:
        model: a network that hands over all uses of its weights, see `lm_keras.layers.taps`.
        compiled: whether XLA compiles the network's part. Norms and sums are products of many rows, which
            are faster outside of it.
    """
    uses: list[Use] = []

    def differentiated(batch: Batch) -> tuple[list[Any], Sums]:
        inputs, targets, weights = batch
        tape = tf.GradientTape(watch_accessed_variables=False)
        with tape, taps.recording(tape.watch) as found:
            features, _ = model.forward(inputs, model.initial_state(targets.shape[0]))
            loss, sums = objective(model.project(features), targets, weights)
        gradients = tape.gradient(loss, [tap.result for tap in found])
        uses[:] = uses_of(zip(found, gradients), variables, targets.shape[0])
        return [use.values for use in uses], sums

    values, sums = _run(differentiated, compiled)(batch)
    uses = [dataclasses.replace(use, values=tensors) for use, tensors in zip(uses, values)]
    norms = tf.sqrt(tf.add_n([*(use.squares() for use in uses), *_tied(uses)]))
    scale = _scale(norms, clip)
    totals = tf.cond(
        tf.reduce_all(tf.math.is_finite(norms)),
        lambda: _totals(uses, scale, variables),
        lambda: _totals([use.kept(scale) for use in uses], scale, variables),
    )
    return totals, sums, norms


def _run(compute: Callable[[Batch], Any], compiled: bool) -> Callable[[Batch], Any]:
    return tf.function(compute, jit_compile=True, autograph=False) if compiled else compute


def _scale(norms: tf.Tensor, clip: float) -> tf.Tensor:
    """Return what gradients of rows are multiplied by, [B]; 0 where the norm is not finite."""
    return tf.where(tf.math.is_finite(norms), tf.minimum(1.0, clip / norms), 0.0)


def _tied(uses: list[Use]) -> list[tf.Tensor]:
    """Return what squared norms lack where a table is looked up in and is a kernel, too."""
    tables = {id(use.weights[0]): use for use in uses if isinstance(use, LookupUse)}
    kernels = [use for use in uses if isinstance(use, ProductUse) and id(use.weights[0]) in tables]
    return [2 * use.times_lookup(tables[id(use.weights[0])]) for use in kernels]


def _totals(uses: list[Use], scale: tf.Tensor, variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Return the sum of the scaled gradients of each variable."""
    found: dict[int, list[tf.Tensor]] = {}
    for use in uses:
        for variable, total in zip(use.weights, use.total(scale)):
            found.setdefault(id(variable), []).append(total)
    return [tf.add_n(found[id(variable)]) for variable in variables]
