"""The recurrence of an LSTM with its gradient, in operations of TensorFlow.

Shapes: B batch, T time, H units; time-major, [T, B, ...].
"""

from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.eager import record  # TensorFlow has no public way to ask whether a tape is recording.

STEPS_PER_CHUNK = 16
"""Time steps unrolled in the body of the loop over time: enough to hide the loop, few enough to trace fast.
"""


def lstm(
    projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor, keep: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run the recurrence; see `_recurrence`.

    Its gradient is there where a tape is recording. A SavedModel, for instance, would have to hold it, and
    cannot: it reads arrays that only the forward pass has.
    """
    if record.could_possibly_record():
        run = tf.custom_gradient(lambda *arguments: _recurrence(*arguments, keep))
        return run(projected, recurrent, h, c)
    return _recurrence(projected, recurrent, h, c, keep)[0]


def _recurrence(
    projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor, keep: tf.Tensor | None = None
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """Run the recurrence, and return what computes its gradient beside the results.

    The gradient keeps the gate gradients of all steps and forms that of the recurrent matrix in one
    product at the end, [H, T B] x [T B, 4 H], where the step-by-step sum would be T small ones.

    Args:
        projected: [T, B, 4 H], W x + b for every step, in the dtype of the state.
        recurrent: [H, 4 H], in the dtype of the products.
        h, c: [B, H], the state before the first step.
        keep: [T, B], what h and c are multiplied by before each step, in their dtype; None for 1.

    Returns:
        outputs: [T, B, H], h of every step, in the dtype of the state.
        c: [B, H] after the last step, likewise.
    """
    dtype, units = projected.dtype, recurrent.shape[0]
    time = tf.shape(projected)[0] if projected.shape[0] is None else projected.shape[0]
    element = tf.TensorShape([projected.shape[1], units])

    def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.matmul(tf.cast(a, recurrent.dtype), b), dtype)

    def array(shape: tf.TensorShape = element) -> tf.TensorArray:
        return tf.TensorArray(dtype, time, element_shape=shape, clear_after_read=False)

    inputs = tf.TensorArray(dtype, time, clear_after_read=False).unstack(projected)
    kept = None if keep is None else keep[..., None]  # [T, B, 1]

    def forward(t, h, c, saved):
        if kept is not None:
            h, c = h * kept[t], c * kept[t]
        gates = tf.split(inputs.read(t) + product(h, recurrent), 4, axis=-1)
        i, f, o = (tf.sigmoid(gates[k]) for k in (0, 1, 3))
        g = tf.tanh(gates[2])
        before, c = c, f * c + i * g
        squashed = tf.tanh(c)
        h = o * squashed
        values = (i, f, g, o, squashed, before, h)
        return h, c, [a.write(t, value) for a, value in zip(saved, values)]

    _, c_last, saved = _over_time(forward, time, h, c, [array() for _ in range(7)])
    outputs = saved[6].stack()
    for values in saved:
        # Eager arrays complain when nobody asks for a gradient; traced ones have no such method.
        getattr(values, "mark_used", lambda: None)()

    def gradient(d_outputs, d_c):
        # Once for all steps: a product of few rows with a transposed matrix takes up to twice as long.
        transposed = tf.transpose(recurrent)
        d_inputs = tf.TensorArray(dtype, time, clear_after_read=False).unstack(d_outputs)

        def backward(step, d_h, d_c, results):
            t = time - 1 - step
            i, f, g, o, squashed, before = (a.read(t) for a in saved[:6])
            d_h = d_h + d_inputs.read(t)
            d_c = d_c + tf.raw_ops.TanhGrad(y=squashed, dy=d_h * o)
            d_gates = tf.concat(
                [
                    tf.raw_ops.SigmoidGrad(y=i, dy=d_c * g),
                    tf.raw_ops.SigmoidGrad(y=f, dy=d_c * before),
                    tf.raw_ops.TanhGrad(y=g, dy=d_c * i),
                    tf.raw_ops.SigmoidGrad(y=o, dy=d_h * squashed),
                ],
                axis=-1,
            )  # [B, 4 H]
            d_h, d_c = product(d_gates, transposed), d_c * f
            if kept is not None:
                d_h, d_c = d_h * kept[t], d_c * kept[t]
            return d_h, d_c, [results[0].write(t, d_gates)]

        results = [array(tf.TensorShape([projected.shape[1], 4 * units]))]
        d_h, d_c, results = _over_time(backward, time, tf.zeros_like(h), d_c, results)
        d_projected = results[0].stack()  # [T, B, 4 H]
        before = tf.concat([h[None], outputs[:-1]], 0)
        before = tf.reshape(before if kept is None else before * kept, [-1, units])  # [T B, H]
        d_flat = tf.cast(tf.reshape(d_projected, [-1, 4 * units]), recurrent.dtype)
        d_recurrent = tf.matmul(tf.cast(before, recurrent.dtype), d_flat, transpose_a=True)
        return d_projected, d_recurrent, d_h, d_c

    return (outputs, c_last), gradient


def _over_time(
    step: Callable, time: int | tf.Tensor, h: tf.Tensor, c: tf.Tensor, arrays: list[tf.TensorArray]
) -> tuple[tf.Tensor, tf.Tensor, list[tf.TensorArray]]:
    """Call `step(t, h, c, arrays)` for t = 0 ... time - 1, unrolled in chunks inside one loop.

    A loop of single steps pays its own cost at every step; unrolling everything traces for seconds at
    long T. Chunks of a fixed size cost neither. Where T is not known when traced, what is left is a loop.
    """

    def loop(count, size, first, h, c, arrays):
        def chunk(k, h, c, arrays):
            for offset in range(size):
                h, c, arrays = step(first + k * size + offset, h, c, arrays)
            return k + 1, h, c, arrays

        start = (tf.constant(0), h, c, arrays)
        return tf.while_loop(lambda k, *_: k < count, chunk, start, parallel_iterations=1)[1:]

    known = isinstance(time, int)
    chunks = time // STEPS_PER_CHUNK if not known or time > STEPS_PER_CHUNK else 0
    if not known or chunks:
        h, c, arrays = loop(chunks, STEPS_PER_CHUNK, 0, h, c, arrays)
    left = chunks * STEPS_PER_CHUNK
    if not known:
        return loop(time - left, 1, left, h, c, arrays)
    for t in range(left, time):
        h, c, arrays = step(t, h, c, arrays)
    return h, c, arrays


def activation_values(length: int, layers: int) -> float:
    """Estimate how many numbers the recurrence holds at its peak, for each row, time step and unit.

    A layer keeps what its gradient needs (7), its outputs, and the outputs of the step before, of which the
    carried h is a view; 1.5 more were measured. Where time is unrolled, TensorFlow forms factors of the
    gradient for several steps at once, as soon as it can (4 if all of time is). The gradients of the gates
    take the place of what they needed.

    Args:
        length: T.
        layers: recurrent layers.
    """
    unrolled = min(1.0, STEPS_PER_CHUNK / length)
    return layers * (10.5 + 4 * unrolled)
