"""The step: one global batch, one update, however it is split.

The sum of token losses over the whole batch is divided once by the number of targets; gradients of
micro-batches and replicas are summed, once, and only then clipped. Keras clips each replica before the sum
and averages averages, which makes the update depend on the split.
"""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from lm_keras import optimizers
from lm_keras.config import Config
from lm_keras.data.batch import Batch
from lm_keras.draws import Draw
from lm_keras.layers import TokenNoise
from lm_keras.objectives import compiled_loss
from lm_keras.objectives.losses import SUMS, next_token_loss
from lm_keras.objectives.regularizers import add_penalties
from lm_keras.privacy.private_step import PrivateStep
from lm_keras.training.guard import LEFT_OUT, Guard
from lm_keras.training.machine import compiles_gradients, compiles_loss

Scalars, Gradients = dict[str, tf.Tensor], list[tf.Tensor | tf.IndexedSlices]

VALUES = (*SUMS, "gradient_norm", "data_wait", *LEFT_OUT)
"""What a step reports: sums over its targets, the norm before clipping, seconds, and 1 for the reason for
which the step was left out. Of a step that is not finite the sums are 0; of one that was left out, or that
has no target, the norm is.
"""


class TrainingStep:
    """Several optimizer steps in one call of a compiled function.

    Args:
        model: a network with `forward`, `project` and `initial_state`.
        optimizer: built, without clipping of its own.
        strategy: the strategy in whose scope both were made.
        config: the settings of the run.
        noise: replaces tokens before the network reads them; None for none.
        private: clips gradients of rows and adds noise to their sum; None for neither.

    Attributes:
        guard: decides which steps are left out.
        traces: how often the compiled function was traced.
        stopped: a variable; a call ends after the step in which it becomes true.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        config: Config,
        noise: TokenNoise | None = None,
        private: PrivateStep | None = None,
    ):
        self._model, self._optimizer, self._strategy, self._config = model, optimizer, strategy, config
        self._noise, self._private = noise, private
        self._variables = model.trainable_variables
        self._sizes = [variable.shape.num_elements() for variable in (v.value for v in self._variables)]
        self._scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        learning = config.learning
        self.guard = Guard(learning.on_nonfinite, learning.spike_sigma, learning.spike_window, self._scaled)
        self._rows = (
            config.batches.batch_size // strategy.num_replicas_in_sync // config.batches.micro_batches
        )
        # Sums over pieces are dense, so are penalties, and XLA has no tensors of unknown length.
        one_piece = strategy.num_replicas_in_sync == config.batches.micro_batches == 1
        compiled = compiles_gradients(config)
        dense = learning.l1 or learning.l2 or compiled or private
        self._sparse = one_piece and not dense and optimizers.takes_rows(optimizer)
        self._gradients, self._compiled = self._gradients_of_micro_batch, compiled
        if private:
            self._gradients = self._clipped_gradients
        elif compiled:
            self._gradients = tf.function(self._gradients, jit_compile=True, autograph=False)
        with tf.device("/cpu:0"):
            self.stopped = tf.Variable(False, trainable=False)
        self.traces = 0

    @tf.function(autograph=False)
    def __call__(
        self,
        iterator: Iterator,
        state: Any,
        recent: Scalars,
        first_step: tf.Tensor,
        tables: Scalars,
        count: tf.Tensor,
    ) -> tuple[Scalars, Any, Scalars, tf.Tensor]:
        """Carry out `count` steps; fewer if one is not finite and that stops the run, or if `stopped` becomes
        true.

        Args:
            iterator: over the (distributed) batches, at `first_step`.
            state: the carried state of every replica.
            recent: what `guard` knows of the steps before.
            first_step: int64 scalar.
            tables: `learning_rate`, `dropout` and, with noise, `token_noise`: [K] float32 each, the values of
                the coming steps; K never changes.
            count: int32 scalar, at most K.

        Returns:
            For each of `VALUES` what the steps reported, [K] float32 (zeros after the last); the state,
            `recent`, and how many steps were done.
        """
        self.traces += 1
        size = tables["learning_rate"].shape[0]
        results = tf.TensorArray(tf.float32, size, element_shape=[len(VALUES)])

        def one_more(
            done: tf.Tensor,
            goes_on: tf.Tensor,
            previous: tf.Tensor,
            state: Any,
            recent: Scalars,
            results: tf.TensorArray,
        ) -> tuple:
            del goes_on
            with tf.control_dependencies([previous]):
                began = self._clock()
            with tf.control_dependencies([began]):
                batch = next(iterator)
            first_input = self._strategy.experimental_local_results(batch[1])[0]
            with tf.control_dependencies([first_input]):
                waited = tf.cast(self._clock() - began, tf.float32)
            if self._strategy.num_replicas_in_sync == 1:
                # Else the clock may be read behind what the step begins with.
                with tf.control_dependencies([waited]):
                    batch = tf.nest.map_structure(tf.identity, batch)
            step = first_step + tf.cast(done, tf.int64)
            rates = {name: table[done] for name, table in tables.items()}
            summed, state = self._strategy.run(self._on_replica, args=(batch, state, step, rates))
            gradients, sums = self._reduced(summed)
            weight = sums["weight"]
            empty, loss = tf.equal(weight, 0.0), sums["nats"] / tf.maximum(weight, 1.0)
            if self._private:  # Neither the divisor nor whether there is an update may depend on the sample.
                gradients, weight = self._private.noised(gradients, step), self._private.expected
                empty, loss = tf.constant(False), tf.zeros([])
            gradients, factor, norm = self._with_penalties(gradients, weight)
            left_out, recent = self.guard(loss, norm, self._scale(), recent, empty)
            self._update(gradients, factor, rates["learning_rate"], left_out, empty)
            sums = [tf.where(left_out["nonfinite"], 0.0, sums[name]) for name in SUMS]
            norm = tf.where(tf.reduce_any([empty, *left_out.values()]), 0.0, norm)
            reasons = [tf.cast(left_out[name], tf.float32) for name in LEFT_OUT]
            results = results.write(done, tf.stack([*sums, norm, waited, *reasons]))
            with tf.control_dependencies([norm]):
                stopped = self.stopped.read_value()
            goes_on = ~(self.guard.stops & left_out["nonfinite"]) & ~stopped
            return done + 1, goes_on, norm, state, recent, results

        done, _, _, state, recent, results = tf.while_loop(
            lambda done, goes_on, *_: goes_on & (done < count),
            one_more,
            (tf.constant(0), tf.constant(True), tf.zeros([]), state, recent, results),
        )
        reported = dict(zip(VALUES, tf.unstack(results.stack(), axis=1)))
        return reported, state, recent, done

    def _clock(self) -> tf.Tensor:
        """Return the time in seconds, or 0 in deterministic runs, where TensorFlow has no clock."""
        deterministic = self._config.running.deterministic
        return tf.zeros([], tf.float64) if deterministic else tf.timestamp()

    def _on_replica(self, batch: Batch, state: Any, step: tf.Tensor, rates: Scalars) -> tuple[Gradients, Any]:
        """Return the sums of gradients and losses over the micro-batches of this replica, and its state."""
        summed, after = self._over_micro_batches(batch, state, step, rates)
        return summed, tf.nest.map_structure(_finite_or_before, after, state)

    def _over_micro_batches(
        self, batch: Batch, state: Any, step: tf.Tensor, rates: Scalars
    ) -> tuple[Gradients, Any]:
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        micro_batches = self._config.batches.micro_batches
        first = replica * micro_batches * self._rows
        if micro_batches == 1:
            return self._gradients(batch, state, step, rates, first)

        # Not a slice from k * rows on, whose number of rows would be unknown.
        def rows_of(k: tf.Tensor, structure: Any) -> Any:
            return tf.nest.map_structure(
                lambda value: tf.reshape(value, [micro_batches, self._rows, *value.shape[1:]])[k], structure
            )

        def one_more(k: tf.Tensor, total: list[tf.Tensor], arrays: list[tf.TensorArray]) -> tuple:
            begin = first + tf.cast(k, tf.int64) * self._rows
            summed, after = self._gradients(rows_of(k, batch), rows_of(k, state), step, rates, begin)
            total = [a + b for a, b in zip(total, summed)]
            return k + 1, total, [a.write(k, value) for a, value in zip(arrays, tf.nest.flatten(after))]

        zeros = [tf.zeros(shape) for shape in [v.shape for v in self._variables] + [[]] * len(SUMS)]
        arrays = [
            tf.TensorArray(value.dtype, micro_batches, element_shape=[self._rows, *value.shape[1:]])
            for value in tf.nest.flatten(state)
        ]
        count = self._private.parts_of(batch) if self._private else micro_batches
        _, total, arrays = tf.while_loop(
            lambda k, *_: k < count, one_more, (tf.constant(0), zeros, arrays), parallel_iterations=1
        )
        flat = [tf.reshape(a.stack(), v.shape) for a, v in zip(arrays, tf.nest.flatten(state))]
        return total, tf.nest.pack_sequence_as(state, flat)

    def _gradients_of_micro_batch(
        self,
        batch: Batch,
        state: Any,
        step: tf.Tensor,
        rates: Scalars,
        first_row: tf.Tensor,
    ) -> tuple[Gradients, Any]:
        """Return the sums, those of the gradients and then `SUMS`, and the state after the batch."""
        inputs, targets, weights = batch
        seed, learning = self._config.batches.seed, self._config.learning
        dropped = self._config.model.dropout or self._config.model.weight_drop
        draw = Draw(seed, step, rates["dropout"], first_row) if dropped else None
        if self._noise is not None:
            noise = Draw(seed, step, rates["token_noise"], first_row)
            inputs = {**inputs, "tokens": self._noise(inputs["tokens"], draw=noise)}
        with tf.GradientTape() as tape:
            features, state = self._model.forward(inputs, state, draw)
            loss = next_token_loss(
                features,
                self._model.output_weights(),
                targets,
                weights,
                self._config.label_smoothing,
                learning.z_loss,
                self._scale() if self._scaled else None,
                compiled_loss.piece if compiles_loss(self._config) else None,
            )
            objective = self._optimizer.scale_loss(loss.objective) if self._scaled else loss.objective
        gradients = tape.gradient(objective, [variable.value for variable in self._variables])
        # Rows of a sparse gradient that belong to the same token are summed here, before any norm is taken.
        whole = optimizers.summed_rows if self._sparse else tf.convert_to_tensor
        gradients = [tf.cast(whole(gradient), tf.float32) for gradient in gradients]
        return [*gradients, *(loss.sums[name] for name in SUMS)], state

    def _clipped_gradients(
        self, batch: Batch, state: Any, step: tf.Tensor, rates: Scalars, first_row: tf.Tensor
    ) -> tuple[Gradients, Any]:
        """Return what `_gradients_of_micro_batch` does, with the gradient of each row clipped."""
        return self._private.clipped(self._model, batch, self._compiled), state

    def _reduced(self, summed: Any) -> tuple[Gradients, Scalars]:
        """Sum over all replicas: one flat tensor, so that it crosses the network once.

        Returns:
            The gradients, and `SUMS` by name.
        """
        if self._strategy.num_replicas_in_sync == 1:
            parts = [self._strategy.experimental_local_results(part)[0] for part in summed]
        else:
            flat = self._strategy.run(
                lambda parts: tf.concat([tf.reshape(part, [-1]) for part in parts], 0), (summed,)
            )
            flat = self._strategy.reduce(tf.distribute.ReduceOp.SUM, flat, axis=None)
            parts = tf.split(flat, [*self._sizes, *[1] * len(SUMS)])
        gradients = [
            part if isinstance(part, tf.IndexedSlices) else tf.reshape(part, v.shape)
            for part, v in zip(parts, self._variables)
        ]
        return gradients, {name: tf.reshape(part, []) for name, part in zip(SUMS, parts[-len(SUMS) :])}

    def _scale(self) -> tf.Tensor:
        """Return by what the loss was multiplied."""
        return self._optimizer.dynamic_scale.value if self._scaled else tf.ones([])

    def _with_penalties(
        self, gradients: Gradients, weight: tf.Tensor
    ) -> tuple[Gradients, tf.Tensor, tf.Tensor]:
        """Return gradients with penalties, and the factor that makes them those of the mean and clips them.

        It is not applied here: `optimizers.apply` may leave it to the update.

        Returns:
            The gradients, the factor, and the norm before clipping.
        """
        learning = self._config.learning
        factor = 1.0 / (tf.maximum(weight, 1.0) * self._scale())
        if learning.l1 or learning.l2:
            gradients = [gradient * factor for gradient in gradients]
            gradients = add_penalties(gradients, self._variables, learning.l1, learning.l2)
            factor = tf.ones([])
        norm = tf.linalg.global_norm(gradients) * factor
        if learning.clip_norm:  # A norm that is not finite makes the gradients so, too.
            clipping = tf.minimum(1.0, learning.clip_norm / norm)
            factor *= tf.where(tf.math.is_finite(norm), clipping, float("nan"))
        return gradients, factor, norm

    def _update(
        self,
        gradients: Gradients,
        factor: tf.Tensor,
        learning_rate: tf.Tensor,
        left_out: Scalars,
        empty: tf.Tensor,
    ) -> None:
        """Apply the gradients times a factor, unless the guard leaves the step out or it has no target.

        Without one momentum, weight decay and penalties alone would move the weights.
        """

        def apply() -> bool:
            # LossScaleOptimizer divides by its scale itself; where that overflows it lowers the scale and no
            # more.
            optimizers.apply(self._optimizer, gradients, factor * self._scale(), self._variables)
            return True

        self._optimizer.learning_rate.assign(learning_rate)
        tf.cond(left_out["nonfinite"] | left_out["spiked"] | empty, lambda: False, apply)


def _finite_or_before(new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """Return the state, with its old values where new ones are not finite: what is left out must not stay."""
    return tf.where(tf.math.is_finite(new), new, old) if new.dtype.is_floating else new
