"""The LSTM layer: one product for all input projections, and one for the recurrent weight gradient.

Shapes: B batch, T time, D input width, H units. The layer works time-major, [T, B, ...].
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import record  # TensorFlow has no public way to ask whether a tape is recording.

from lm_keras.draws import Draw
from lm_keras.layers import compiled_recurrence, cudnn
from lm_keras.layers.casting import cast

STEPS_PER_CHUNK = 16
"""Time steps unrolled in the body of the loop over time: enough to hide the loop, few enough to trace fast.
"""

FIRST_MASK = 10_000
"""Number of the first layer's weight-drop mask among the masks of a network; those of dropout count from 0.
"""


@keras.saving.register_keras_serializable(package="lm_keras", name="LSTM")
class LSTM(keras.layers.Layer):
    """Long short-term memory with its state as argument and result.

    The gates are in Keras's order (input, forget, candidate, output) and so are the weights, which can
    be exchanged with `keras.layers.LSTM`. Products run in the layer's compute dtype; the cell state,
    the gates and the sums stay in float32.

    Args:
        units: width H of the state.
        forget_bias: initial bias of the forget gate; the others begin at 0.
        init_scale: draw the matrices from U(-s, s); None for Glorot and orthogonal matrices, as Keras does.
        weight_drop: share of the recurrent matrix that is set to zero, drawn again at every step; the rest is
            scaled by 1 / (1 - share). The same weights are dropped at every time step and in every row.
        index: number of this layer within its network, so that no two layers share masks.
        use_cudnn: hand over to cuDNN where there is an NVIDIA GPU. It computes in float32 whatever the
            compute dtype is, so that the cell state stays what it is here; its products may be in TF32. XLA
            has no such operation.

    Attributes:
        by_cudnn: whether it does so in this process.

    Reference: Hochreiter and Schmidhuber (1997); with forget gates, Gers et al. (2000). Weight-drop: Merity,
    Keskar and Socher (2018), section 2.
    """

    def __init__(
        self,
        units: int,
        forget_bias: float = 1.0,
        init_scale: float | None = None,
        weight_drop: float = 0.0,
        index: int = 0,
        use_cudnn: bool = True,
        **kwargs: Any,
    ):
        # The carried float32 state must not be cast to the compute dtype on the way in.
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.forget_bias = forget_bias
        self.init_scale = init_scale
        self.weight_drop = weight_drop
        self.index = index
        self.use_cudnn = use_cudnn
        self.supports_jit = not self.by_cudnn  # What `compile(jit_compile="auto")` asks.
        self.seed_generator = keras.random.SeedGenerator() if weight_drop else None

    def build(self, input_shape: Sequence[int | None]) -> None:
        def initializer(usual: str) -> str | keras.initializers.Initializer:
            # One for each matrix: Keras's initializers give the same numbers whenever they are called.
            scale = self.init_scale
            return keras.initializers.RandomUniform(-scale, scale) if scale else usual

        self.kernel = self.add_weight(
            shape=(input_shape[-1], 4 * self.units),
            initializer=initializer("glorot_uniform"),
            autocast=False,
            name="kernel",
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, 4 * self.units),
            initializer=initializer("orthogonal"),
            autocast=False,
            name="recurrent_kernel",
        )
        self.bias = self.add_weight(
            shape=(4 * self.units,), initializer=self._initial_bias, autocast=False, name="bias"
        )

    @property
    def by_cudnn(self) -> bool:
        return self.use_cudnn and cudnn.available()

    def _initial_bias(self, shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
        gate = keras.ops.arange(shape[0]) // self.units
        return keras.ops.cast(gate == 1, dtype) * self.forget_bias

    def initial_state(self, batch_size: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Return zeros: `{"h": [B, H], "c": [B, H]}` in float32."""
        return {name: tf.zeros([batch_size, self.units]) for name in ("h", "c")}

    def recurrent_matrix(self, draw: Draw | None, training: bool) -> tf.Tensor:
        """Return the recurrent matrix of a step, [H, 4 H], in the compute dtype; see `call` for the
        arguments.
        """
        if not self.weight_drop or (draw is None and not training):
            return cast(self.recurrent_kernel, self.compute_dtype)
        matrix = tf.convert_to_tensor(self.recurrent_kernel)
        if draw is None:
            keep = keras.random.uniform(matrix.shape, seed=self.seed_generator) >= self.weight_drop
        else:
            # The mask belongs to the matrix: all rows, micro-batches and replicas of a step have the same
            # one.
            of_matrix = {"rate": tf.constant(self.weight_drop), "first_row": tf.constant(0, tf.int64)}
            keep = dataclasses.replace(draw, **of_matrix).keep(FIRST_MASK + self.index, *matrix.shape)
        return tf.cast(tf.where(keep, matrix / (1.0 - self.weight_drop), 0.0), self.compute_dtype)

    def call(
        self,
        x: tf.Tensor,
        state: Mapping[str, tf.Tensor],
        draw: Draw | None = None,
        training: bool = False,
        keep: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Run the layer over time.

        Args:
            x: [T, B, D].
            state: `{"h": [B, H], "c": [B, H]}` float32.
            draw: step and seed of the weight-drop mask in the project's own loop.
            training: whether to drop weights when no `draw` is given.
            keep: [T, B] float32, 0 where the state is reset before a step, else 1; None for 1. cuDNN has
                no such thing.

        Returns:
            The hidden states [T, B, H] in the compute dtype, and the state after the last step.
        """
        dtype = self.compute_dtype
        time = x.shape[0]
        matrix = self.recurrent_matrix(draw, training)
        # A single step, as the sampler takes them, would pack the weights again each time.
        if self.by_cudnn and time != 1 and keep is None:
            x = tf.cast(x, tf.float32)
            weights = self.kernel.value, tf.cast(matrix, tf.float32), self.bias.value
            outputs, h, c = cudnn.lstm(x, *weights, state["h"], state["c"])
            return tf.cast(outputs, dtype), {"h": h, "c": c}
        projected = self._projected(x)  # [T B, 4 H]
        shape = [*tf.unstack(tf.shape(x)[:2]), 4 * self.units] if time is None else [time, -1, 4 * self.units]
        outputs, cell = lstm(tf.reshape(projected, shape), matrix, state["h"], state["c"], keep)
        return tf.cast(outputs, dtype), {"h": outputs[-1], "c": cell}

    def compiled(
        self,
        x: tf.Tensor,
        state: Mapping[str, tf.Tensor],
        matrix: tf.Tensor,
        keep: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Run the layer over time with its recurrence compiled by XLA, while a graph is traced.

        Args:
            x: [B, T, D], a known shape; rows first, other than in `call`.
            state: `{"h": [B, H], "c": [B, H]}` float32.
            matrix: what `recurrent_matrix` returns.
            keep: [B, T] float32, as in `call`, rows first.

        Returns:
            The hidden states [B, T, H] in the compute dtype, and the state after the last step.
        """
        projected = tf.reshape(self._projected(x), [*x.shape[:2], 4 * self.units])
        outputs, cell = compiled_recurrence.lstm(projected, matrix, state["h"], state["c"], keep)
        return tf.cast(outputs, self.compute_dtype), {"h": outputs[:, -1], "c": cell}

    def _projected(self, x: tf.Tensor) -> tf.Tensor:
        """Return W x + b in float32 for x [..., D], as [R, 4 H]."""
        dtype = self.compute_dtype
        flat = tf.reshape(tf.cast(x, dtype), [-1, x.shape[-1]])
        return tf.cast(tf.matmul(flat, cast(self.kernel, dtype)), tf.float32) + self.bias

    def get_config(self) -> dict[str, Any]:
        names = ("units", "forget_bias", "init_scale", "weight_drop", "index", "use_cudnn")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


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
