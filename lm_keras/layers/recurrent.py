"""The LSTM layer: one product for all input projections, and one for the recurrent weight gradient.

Shapes: B batch, T time, D input width, H units. The layer works time-major, [T, B, ...].
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.layers import compiled_recurrence, cudnn, taps
from lm_keras.layers.casting import cast
from lm_keras.layers.recurrence import lstm

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
        if self.by_cudnn and time != 1 and keep is None and not taps.recorded():
            x = tf.cast(x, tf.float32)
            weights = self.kernel.value, tf.cast(matrix, tf.float32), self.bias.value
            outputs, h, c = cudnn.lstm(x, *weights, state["h"], state["c"])
            return tf.cast(outputs, dtype), {"h": h, "c": c}
        projected = self._projected(x)  # [T B, 4 H]
        shape = [*tf.unstack(tf.shape(x)[:2]), 4 * self.units] if time is None else [time, -1, 4 * self.units]
        projected = tf.reshape(projected, shape)
        taps.product(projected, x, self.kernel, self.bias)
        outputs, cell = lstm(projected, matrix, state["h"], state["c"], keep)
        taps.recurrence(
            projected, lambda: tf.concat([state["h"][None], outputs[:-1]], 0), self.recurrent_kernel
        )
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
        taps.product(projected, x, self.kernel, self.bias, x.shape[0])
        outputs, cell = compiled_recurrence.lstm(projected, matrix, state["h"], state["c"], keep)
        taps.recurrence(
            projected, lambda: tf.concat([state["h"][:, None], outputs[:, :-1]], 1), self.recurrent_kernel
        )
        return tf.cast(outputs, self.compute_dtype), {"h": outputs[:, -1], "c": cell}

    def _projected(self, x: tf.Tensor) -> tf.Tensor:
        """Return W x + b in float32 for x [..., D], as [R, 4 H]."""
        dtype = self.compute_dtype
        flat = tf.reshape(tf.cast(x, dtype), [-1, x.shape[-1]])
        return tf.cast(tf.matmul(flat, cast(self.kernel, dtype)), tf.float32) + self.bias

    def get_config(self) -> dict[str, Any]:
        names = ("units", "forget_bias", "init_scale", "weight_drop", "index", "use_cudnn")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
