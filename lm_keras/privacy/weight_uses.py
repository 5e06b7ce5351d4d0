"""What single rows add to the gradients of weights: their squared norms, and their sums, each row scaled.

The gradient that a row adds to a matrix is never kept. Its norm follows from the inputs of a product and from
the gradient of the result; so does the sum over rows, each of them scaled.

Shapes: B rows, b rows of a group, T positions of a row, R = B T, D and K widths, V vocabulary.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.layers import taps
from lm_keras.layers.normalization import normalized


def kept(values: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return values of rows [B, ...], and 0 for rows whose scale is 0, whatever they hold."""
    counts = tf.reshape(scale > 0, [-1] + [1] * (len(values.shape) - 1))
    return tf.where(counts, values, tf.zeros([], values.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class ProductUse:
    """Uses of one or two kernels by groups of rows that follow each other.

    Attributes:
        weights: the kernels.
        transposed: whether they are.
        values: of each group the inputs [b, T, D], one for each kernel, and the gradient [b, T, K].
    """

    weights: list[keras.Variable]
    transposed: bool
    values: list[tuple[list[tf.Tensor], tf.Tensor]]

    @property
    def rows(self) -> list[int]:
        """Return how many rows each group has."""
        return [gradient.shape[0] for _, gradient in self.values]

    def squares(self) -> tf.Tensor:
        """Return the squared norms [B] of the gradients of all kernels together."""
        return tf.concat([_squares_of_product(*group) for group in self.values], 0)

    def kept(self, scale: tf.Tensor) -> "ProductUse":
        """Return it with 0 for rows whose scale is 0."""
        groups = zip(self.values, tf.split(scale, self.rows))
        values = [tf.nest.map_structure(lambda v, own=own: kept(v, own), group) for group, own in groups]
        return dataclasses.replace(self, values=values)

    def total(self, scale: tf.Tensor) -> list[tf.Tensor]:
        """Return the sums of the scaled gradients.

        In float32: a sum over all rows that is rounded to a short format moves by more than one row may.
        """
        found = []
        for (inputs, gradient), own in zip(self.values, tf.split(scale, self.rows)):
            # What is narrower is scaled, since that takes a pass over it.
            narrow = sum(part.shape[-1] for part in inputs) <= gradient.shape[-1]
            right = _flat(gradient) if narrow else _scaled(gradient, own)
            lefts = [_scaled(part, own) if narrow else _flat(part) for part in inputs]
            pairs = [(right, left) if self.transposed else (left, right) for left in lefts]
            found.append([tf.matmul(*pair, transpose_a=True) for pair in pairs])
        return [tf.add_n(of_kernel) for of_kernel in zip(*found)]

    def times_lookup(self, table: "LookupUse") -> tf.Tensor:
        """Return the inner products [B] with the gradients of a table that also is this kernel."""
        (((features,), gradient),), (index, other) = self.values, table.values
        index = tf.repeat(index[:, None], features.shape[1], 1)  # [B, T, S]
        drawn = tf.gather(tf.cast(gradient, tf.float32), index, batch_dims=2)
        features, other = tf.cast(features, tf.float32), tf.cast(other, tf.float32)
        return tf.reduce_sum(drawn * tf.matmul(features, other, transpose_b=True), [1, 2])


@dataclasses.dataclass(frozen=True, eq=False)
class LookupUse:
    """Uses of a table.

    Attributes:
        weights: the table.
        values: index [B, T], and gradients of what was looked up [B, T, D].
    """

    weights: list[keras.Variable]
    values: tuple[tf.Tensor, tf.Tensor]

    @property
    def rows(self) -> list[int]:
        """Return how many rows there are."""
        return [self.values[0].shape[0]]

    def squares(self) -> tf.Tensor:
        """Return the squared norms [B]: equal indices of a row add up first."""
        index, gradient = self.values
        same = tf.cast(index[:, :, None] == index[:, None, :], tf.float32)
        return tf.reduce_sum(same * _gram(tf.cast(gradient, tf.float32)), [1, 2])

    def kept(self, scale: tf.Tensor) -> "LookupUse":
        """Return it with 0 for rows whose scale is 0."""
        index, gradient = self.values
        return dataclasses.replace(self, values=(index, kept(gradient, scale)))

    def total(self, scale: tf.Tensor) -> list[tf.Tensor]:
        """Return the sum of the scaled gradients."""
        index, gradient = self.values
        places, count = tf.reshape(index, [-1]), self.weights[0].shape[0]
        return [tf.math.unsorted_segment_sum(_scaled(gradient, scale), places, count)]


@dataclasses.dataclass(frozen=True, eq=False)
class FormedUse:
    """The gradients of a variable, formed for each row.

    Attributes:
        weights: the variable.
        values: of each group [b, ...] float32.
    """

    weights: list[keras.Variable]
    values: list[tf.Tensor]

    @property
    def rows(self) -> list[int]:
        """Return how many rows each group has."""
        return [group.shape[0] for group in self.values]

    def squares(self) -> tf.Tensor:
        """Return the squared norms [B]."""
        return tf.concat([tf.reduce_sum(tf.square(_rows(group)), 1) for group in self.values], 0)

    def kept(self, scale: tf.Tensor) -> "FormedUse":
        """Return it with 0 for rows whose scale is 0."""
        groups = zip(self.values, tf.split(scale, self.rows))
        return dataclasses.replace(self, values=[kept(*group) for group in groups])

    def total(self, scale: tf.Tensor) -> list[tf.Tensor]:
        """Return the sum of the scaled gradients."""
        groups = zip(self.values, tf.split(scale, self.rows))
        sums = [tf.linalg.matvec(_rows(group), own, transpose_a=True) for group, own in groups]
        return [tf.reshape(tf.add_n(sums), self.values[0].shape[1:])]


Use = ProductUse | LookupUse | FormedUse


def uses_of(
    recorded: Iterable[tuple[taps.Tap, tf.Tensor]], variables: Sequence[keras.Variable], rows: int
) -> list[Use]:
    """Return how a forward pass used variables, those of groups of rows put together.

    Args:
        recorded: what was recorded, each with the gradient of its result.
        variables: of which gradients are wanted.
        rows: B.

    Raises:
        ValueError: a variable has no use, or not one for each row.
    """
    learnt = {id(variable) for variable in variables}
    groups: dict[Any, list[Use]] = {}
    for use in itertools.chain.from_iterable(_uses_of(*each, learnt) for each in recorded):
        groups.setdefault((type(use), *map(id, use.weights)), []).append(use)
    used = {id(weight) for same in groups.values() for weight in same[0].weights}
    if missing := [variable.path for variable in variables if id(variable) not in used]:
        raise ValueError(f"the network does not hand over how it uses {', '.join(missing)}")
    found = [_put_together(same) for same in groups.values()]
    if other := [use.weights[0].path for use in found if sum(use.rows) != rows]:
        raise ValueError(f"the network does not use {', '.join(other)} once for each row")
    return found


def _uses_of(tap: taps.Tap, gradient: tf.Tensor, learnt: set[int]) -> list[Use]:
    gradient, found = tap.by_row(gradient), []
    if isinstance(tap, taps.LookupTap):
        index = tf.reshape(tap.index, [tap.rows, -1]) if tap.rows else tf.transpose(tap.index)
        return [LookupUse([tap.table], (index, gradient))] if id(tap.table) in learnt else []
    if isinstance(tap, taps.ProductTap):
        pairs = [(part, kernel) for part, kernel in zip(tap.inputs, tap.kernels) if id(kernel) in learnt]
        if pairs:
            inputs, kernels = [tap.by_row(part) for part, _ in pairs], [kernel for _, kernel in pairs]
            found.append(ProductUse(kernels, tap.transposed, [(inputs, gradient)]))
    elif id(tap.gain) in learnt:
        values = tf.cast(tap.values, tf.float32)
        normal = tap.by_row(normalized(tap.kind, values, tf.ones(values.shape[-1:]), None, tap.epsilon))
        found.append(FormedUse([tap.gain], [tf.reduce_sum(tf.cast(gradient, tf.float32) * normal, 1)]))
    if tap.bias is not None and id(tap.bias) in learnt:
        found.append(FormedUse([tap.bias], [tf.reduce_sum(tf.cast(gradient, tf.float32), 1)]))
    return found


def _put_together(uses: list[Use]) -> Use:
    first, *rest = uses
    if not rest:
        return first
    if isinstance(first, LookupUse):
        values = tuple(tf.concat(parts, 0) for parts in zip(*(use.values for use in uses)))
        return dataclasses.replace(first, values=values)
    return dataclasses.replace(first, values=[group for use in uses for group in use.values])


def _squares_of_product(inputs: list[tf.Tensor], gradient: tf.Tensor) -> tf.Tensor:
    """Return the squared norms [b] of sum_t x_t g_t', where x is one input beside the other.

    They are sum_st (x_s x_t) (g_s g_t), too, which takes less where there are few positions.
    """
    gradient, inputs = tf.cast(gradient, tf.float32), [tf.cast(part, tf.float32) for part in inputs]
    width, (_, time, outputs) = sum(part.shape[-1] for part in inputs), gradient.shape
    if time * (width + outputs) <= width * outputs:
        grams = tf.add_n([_gram(part) for part in inputs])
        return tf.reduce_sum(grams * _gram(gradient), [1, 2])
    products = [tf.matmul(part, gradient, transpose_a=True) for part in inputs]
    return tf.add_n([tf.reduce_sum(tf.square(product), [1, 2]) for product in products])


def _gram(values: tf.Tensor) -> tf.Tensor:
    """Return the inner products of the positions of each row, [B, T, T]."""
    return tf.matmul(values, values, transpose_b=True)


def _scaled(values: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return values [B, T, D] times the scale of their rows, as [R, D] float32."""
    return _flat(tf.cast(values, tf.float32) * scale[:, None, None])


def _rows(values: tf.Tensor) -> tf.Tensor:
    """Return values [b, ...] as [b, D]."""
    return tf.reshape(values, [values.shape[0], -1])


def _flat(values: tf.Tensor) -> tf.Tensor:
    """Return values [B, T, D] as [R, D] float32."""
    return tf.cast(tf.reshape(values, [-1, values.shape[-1]]), tf.float32)
