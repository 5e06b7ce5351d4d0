"""The recurrence of an LSTM as two programs that XLA compiles, one for each direction.

As TensorFlow's own operations a time step is some twenty kernels and eight writes into lists. For few units
that costs more than the products. XLA makes a few loops over values of it and writes in place. What remains
in TensorFlow are the products over all time steps at once, which are faster there.

Shapes: B rows, T time, H units. Rows come first, [B, T, ...], so that nothing outside of a program is
transposed.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def row_groups(rows: int) -> int:
    """Return for how many groups of rows programs are compiled: two where rows are even in number, else one.

    A product of some rows, and a program of XLA's, take as long on two cores as on one. Two groups have
    programs that do not wait for each other, so that each may have a core. Replicas are such groups already.
    """
    return 2 if tf.distribute.get_strategy().num_replicas_in_sync == 1 and rows % 2 == 0 else 1


def lstm(
    projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor, keep: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run the recurrence as `lm_keras.layers.recurrence.lstm` does, rows first.

    Products with a short recurrent matrix run in the dtype of the state: XLA's own products of short numbers
    take longer on a CPU than those of the same values in float32.

    Args:
        projected: [B, T, 4 H], W x + b for every step, in the dtype of the state; its shape is known when
            traced.
        recurrent: [H, 4 H], in the dtype of the products.
        h, c: [B, H], the state before the first step.
        keep: [B, T], what h and c are multiplied by before each step; None for 1.

    Returns:
        outputs: [B, T, H], h of every step, in the dtype of the state.
        c: [B, H] after the last step, likewise.
    """
    run = tf.custom_gradient(lambda *arguments: _lstm(*arguments, keep))
    return run(projected, recurrent, h, c)


def _lstm(
    projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor, keep: tf.Tensor | None
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    units = recurrent.shape[0]
    outputs, c_last, *saved = _forward(projected, recurrent, h, c, keep)

    def gradient(d_outputs, d_c):
        d_projected, d_h, d_c = _backward(d_outputs, d_c, recurrent, keep, *saved)
        before = tf.concat([h[:, None], outputs[:, :-1]], 1)
        before = tf.reshape(before if keep is None else before * keep[..., None], [-1, units])  # [B T, H]
        d_flat = tf.cast(tf.reshape(d_projected, [-1, 4 * units]), recurrent.dtype)
        d_recurrent = tf.matmul(tf.cast(before, recurrent.dtype), d_flat, transpose_a=True)
        return d_projected, d_recurrent, d_h, d_c

    return (outputs, c_last), gradient


@tf.function(jit_compile=True, autograph=False)
def _forward(
    projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor, keep: tf.Tensor | None
) -> tuple[tf.Tensor, ...]:
    """Return the outputs [B, T, H], the last cell state [B, H], and what the gradient needs, six times [T, B,
    H].
    """
    time, matrix = projected.shape[1], tf.cast(recurrent, projected.dtype)

    def step(t, h, c, arrays):
        if keep is not None:
            h, c = h * keep[:, t, None], c * keep[:, t, None]
        gates = tf.split(_product(h, matrix, recurrent.dtype) + projected[:, t], 4, axis=-1)
        i, f, o = (tf.sigmoid(gates[k]) for k in (0, 1, 3))
        g = tf.tanh(gates[2])
        before, c = c, f * c + i * g
        squashed = tf.tanh(c)
        h = o * squashed
        values = (h, i, f, g, o, squashed, before)
        return t + 1, h, c, [a.write(t, value) for a, value in zip(arrays, values)]

    arrays = [tf.TensorArray(projected.dtype, time, element_shape=h.shape) for _ in range(7)]
    _, _, c, arrays = _over_time(step, time, h, c, arrays)
    outputs, *saved = (array.stack() for array in arrays)
    return tf.transpose(outputs, [1, 0, 2]), c, *saved


@tf.function(jit_compile=True, autograph=False)
def _backward(
    d_outputs: tf.Tensor, d_c: tf.Tensor, recurrent: tf.Tensor, keep: tf.Tensor | None, *saved: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the gradients of `projected` [B, T, 4 H], of h and of c."""
    rows, time, units = d_outputs.shape
    dtype = d_outputs.dtype
    transposed = tf.transpose(tf.cast(recurrent, dtype))

    def step(k, d_h, d_c, array):
        t = time - 1 - k
        i, f, g, o, squashed, before = (values[t] for values in saved)
        d_h = d_h + d_outputs[:, t]
        d_c = d_c + d_h * o * (1 - squashed * squashed)
        d_gates = tf.concat(
            [
                d_c * g * i * (1 - i),
                d_c * before * f * (1 - f),
                d_c * i * (1 - g * g),
                d_h * squashed * o * (1 - o),
            ],
            axis=-1,
        )  # [B, 4 H]
        d_h, d_c = _product(d_gates, transposed, recurrent.dtype), d_c * f
        if keep is not None:
            d_h, d_c = d_h * keep[:, t, None], d_c * keep[:, t, None]
        return k + 1, d_h, d_c, array.write(t, d_gates)

    array = tf.TensorArray(dtype, time, element_shape=[rows, 4 * units])
    _, d_h, d_c, array = _over_time(step, time, tf.zeros_like(d_c), d_c, array)
    return tf.transpose(array.stack(), [1, 0, 2]), d_h, d_c


def _over_time(
    step: Callable,
    time: int,
    h: tf.Tensor,
    c: tf.Tensor,
    arrays: tf.TensorArray | list[tf.TensorArray],
) -> tuple[Any, ...]:
    # XLA needs to know how often a loop that writes arrays turns at most.
    return tf.while_loop(
        lambda t, *_: t < time, step, (tf.constant(0), h, c, arrays), maximum_iterations=time
    )


def _product(values: tf.Tensor, matrix: tf.Tensor, precision: tf.DType) -> tf.Tensor:
    """Multiply in the dtype of the matrix, after rounding the values to `precision`; the matrix is rounded
    already.
    """
    return tf.matmul(tf.cast(tf.cast(values, precision), matrix.dtype), matrix)
