"""Weights in the number format of the products; where they stay as they are for long, as in a sampler, cast
once.

R rows, k numbers of a row, n output channels.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

import keras
import tensorflow as tf

_CAST: contextvars.ContextVar[dict] = contextvars.ContextVar("cast")

_HALVES: contextvars.ContextVar[bool] = contextvars.ContextVar("halves", default=False)

LARGEST_INT8 = 127
"""Largest absolute value of a rounded number: symmetric, so -128 is not used."""


def cast(variable: keras.Variable | tf.Tensor, dtype: str | tf.DType) -> "tf.Tensor | Int8Matrix":
    """Return a variable as a tensor of that dtype; within `used`, what was made of it before: a tensor, or an
    `Int8Matrix`.
    """
    there = _CAST.get({}).get((id(variable), tf.as_dtype(dtype)))
    return tf.cast(tf.convert_to_tensor(variable), dtype) if there is None else there


def times(
    rows: tf.Tensor,
    matrix: "tf.Tensor | Int8Matrix",
    transposed: bool = False,
    dtype: str | tf.DType | None = None,
) -> tf.Tensor:
    """Return the product [R, n] of rows and a matrix.

    Args:
        rows: [R, k].
        matrix: what `cast` returned: [k, n], [n, k] if `transposed`, or an `Int8Matrix`.
        transposed: whether output channels are the first axis of a matrix that is a tensor.
        dtype: of the product; None for that of the rows.
    """
    dtype = rows.dtype if dtype is None else dtype
    if isinstance(matrix, Int8Matrix):
        return tf.cast(matrix.product(rows), dtype)
    if _HALVES.get() and matrix.shape[0] % 2 == 0:
        return tf.cast(_product_of_halves(rows, matrix, transposed), dtype)
    return tf.cast(tf.matmul(rows, matrix, transpose_b=transposed), dtype)


@contextlib.contextmanager
def products_of_halves() -> Iterator[None]:
    """Have `times` multiply one row by the halves of a matrix's first axis as one batch of two products.

    XLA reads a large matrix in float32 in nine tenths of the time so, on two cores.
    """
    token = _HALVES.set(True)
    try:
        yield
    finally:
        _HALVES.reset(token)


def _product_of_halves(row: tf.Tensor, matrix: tf.Tensor, transposed: bool) -> tf.Tensor:
    """Return a row [1, k] times a matrix [k, n], or [n, k] if transposed: [1, n]."""
    height, width = matrix.shape
    halves = tf.reshape(matrix, [2, height // 2, width])
    if transposed:
        both = tf.broadcast_to(row[None], [2, 1, width])
        return tf.reshape(tf.matmul(both, halves, transpose_b=True), [1, height])
    return tf.reduce_sum(tf.matmul(tf.reshape(row, [2, 1, height // 2]), halves), 0)


@dataclasses.dataclass(frozen=True)
class Int8Matrix:
    """A matrix as 8-bit integers, with one scale for each output channel.

    Attributes:
        values: [n, k] int8.
        scales: [n] float32, by which they are multiplied.
        totals: [n] int32, their sums.
        integers: whether products are of integers. Either way they are the same numbers, as long as the sums
            of products of integers stay below 2^24, which float32 holds exactly: a batch of texts is computed
            as its texts one by one.
    """

    values: tf.Tensor
    scales: tf.Tensor
    totals: tf.Tensor
    integers: bool = False

    def product(self, rows: tf.Tensor) -> tf.Tensor:
        """Return rows [R, k] times the matrix, [R, n] float32. Each row is rounded to 256 steps from its
        smallest number to its largest, one of which is 0.

        These are the numbers of XNNPACK, which `lm_keras.sampling.lite` uses.
        """
        rows = tf.cast(rows, tf.float32)
        low, high = (find(rows, -1, keepdims=True) for find in (tf.reduce_min, tf.reduce_max))  # [R, 1]
        low, high = tf.minimum(low, 0.0), tf.maximum(high, 0.0)
        per_unit = tf.where(low == high, 1.0, 255.0 / (high - low))
        first, last = -128.0 - low * per_unit, 127.0 - high * per_unit
        # Both are the same number but for rounding, and XNNPACK takes this one.
        zero = tf.where(low * per_unit + high * per_unit - 1.0 > 0, first, last)
        zero = tf.round(tf.clip_by_value(zero, -128.0, 127.0))
        rounded = tf.clip_by_value(tf.round(rows * per_unit) + zero, -128.0, 127.0)
        if self.integers:
            rounded, zero = tf.cast(rounded, tf.int8), tf.cast(zero, tf.int32)
            sums = tf.matmul(rounded, self.values, transpose_b=True, output_type=tf.int32)
            sums = tf.cast(sums - zero * self.totals, tf.float32)
        else:
            sums = tf.matmul(rounded - zero, tf.cast(self.values, tf.float32), transpose_b=True)
        return sums * (1.0 / per_unit) * self.scales


class FloatMatrix(Int8Matrix):
    """A matrix of floats in the place of an `Int8Matrix`, while a program is made. It rounds nothing."""

    def product(self, rows: tf.Tensor) -> tf.Tensor:
        """Return rows [R, k] times the matrix, [R, n] float32."""
        return tf.matmul(tf.cast(rows, tf.float32), self.values, transpose_b=True)


def rounded_to_int8(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the values [n, k] int8, scales [n] and totals [n] of a matrix [n, k], each row of which is an
    output channel.
    """
    scales = tf.reduce_max(tf.abs(matrix), -1) / LARGEST_INT8
    scales = tf.where(scales > 0, scales, 1.0)
    values = tf.round(matrix / scales[:, None])
    return tf.cast(values, tf.int8), scales, tf.reduce_sum(tf.cast(values, tf.int32), -1)


class Int8Matrices:
    """The matrices of a network's products as 8-bit integers, made once; an embedding is still looked up in
    float32.

    Args:
        model: a network with `product_matrices`, built, whose weights stay as they are.

    Attributes:
        matrices: one after the other.
        specs: of what `made` returns.
        nbytes: what is held beside the weights themselves.
    """

    def __init__(self, model: keras.Model):
        self._keys, self.matrices = [], []
        for variable, transposed in model.product_matrices:
            matrix = tf.convert_to_tensor(variable)
            self._keys.append((id(variable), tf.as_dtype(model.compute_dtype)))
            self.matrices.append(Int8Matrix(*rounded_to_int8(matrix if transposed else tf.transpose(matrix))))
        self._made = [part for m in self.matrices for part in (m.values, m.scales, m.totals)]
        self.specs = [tf.TensorSpec(part.shape, part.dtype) for part in self._made]
        self.nbytes = sum(part.dtype.size * part.shape.num_elements() for part in self._made)

    def made(self) -> list[tf.Tensor]:
        """Return values, scales and totals of all matrices, one after the other."""
        return self._made

    def used(self, made: list[tf.Tensor], integers: bool = False) -> contextlib.AbstractContextManager[None]:
        """Have `cast` return what was made; `integers` as in `Int8Matrix`."""
        parts = zip(made[::3], made[1::3], made[2::3], strict=True)
        return self.replaced([Int8Matrix(*each, integers) for each in parts])

    def replaced(self, by: list[Int8Matrix]) -> contextlib.AbstractContextManager[None]:
        """Have `cast` return these matrices."""
        return _used(self._keys, by)


class CastOnce:
    """The matrices of a network in the number format of its products, for as long as its weights stay as they
    are.

    Casting reads four bytes and writes two for every two that a product reads. In float32 there is nothing to
    cast, and a table that is only looked up in stays as it is.

    Args:
        model: a network, built.
        transposed: keep them transposed, since XLA's product of one row in bfloat16 reads them ten times as
            fast; `cast` returns them turned back, which XLA, and TensorFlow as it optimizes a graph, make
            part of the product that follows.

    Attributes:
        specs: of what `made` returns.

    Example:
        >>> matrices = CastOnce(model)
        >>> tensors = matrices.made()
        >>> with matrices.used(tensors):
        ...     features, state = model.forward(inputs, state)
    """

    def __init__(self, model: keras.Model, transposed: bool = False):
        self._dtype, self._matrices, self._turned = tf.as_dtype(model.compute_dtype), [], []
        if self._dtype != tf.float32:
            table, tied = model.embedding.embeddings, model.tie_embeddings
            self._matrices = [v for v in model.weights if len(v.shape) == 2 and (tied or v is not table)]
            # As output matrix the table is transposed already.
            self._turned = [transposed and v is not table for v in self._matrices]
        self.specs = [
            tf.TensorSpec(variable.shape[::-1] if turned else variable.shape, self._dtype)
            for variable, turned in zip(self._matrices, self._turned)
        ]

    def made(self) -> list[tf.Tensor]:
        """Cast the weights as they are now."""
        there = zip(self._matrices, self._turned)
        return [_turned(tf.cast(tf.convert_to_tensor(v), self._dtype), turned) for v, turned in there]

    def used(self, made: list[tf.Tensor]) -> contextlib.AbstractContextManager[None]:
        """Have `cast` return what was made; what is traced within may be the body of a loop."""
        keys = [(id(variable), self._dtype) for variable in self._matrices]
        return _used(
            keys, [_turned(matrix, turned) for matrix, turned in zip(made, self._turned, strict=True)]
        )


@contextlib.contextmanager
def _used(keys: list[tuple[int, tf.DType]], made: list[tf.Tensor | Int8Matrix]) -> Iterator[None]:
    token = _CAST.set(dict(zip(keys, made, strict=True)))
    try:
        yield
    finally:
        _CAST.reset(token)


def _turned(matrix: tf.Tensor, turned: bool) -> tf.Tensor:
    return tf.transpose(matrix) if turned else matrix
