"""The step: one global batch, one update, however it is split.

The sum of token losses over the whole batch is divided once by the number of targets; gradients of micro-batches
and replicas are summed, once, and only then clipped. Keras clips each replica before the sum and averages
averages, which makes the update depend on the split.
"""

import keras
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.layers import TokenNoise
from lm_keras.layers.dropout import Draw
from lm_keras.objectives.losses import next_token_loss
from lm_keras.objectives.regularizers import add_penalties

VALUES = ("nats", "correct", "weight", "gradient_norm", "data_wait", "skipped")
"""What a step reports, in this order: sums over its targets, the norm before clipping (0 if skipped), seconds, and
1 if loss scaling left the step out because float16 gradients were not finite."""


class TrainingStep:
    """Several optimizer steps in one call of a compiled function.

    Args:
        model: a network with `forward`, `project` and `initial_state`.
        optimizer: built, without clipping of its own.
        strategy: the strategy in whose scope both were made.
        config: the settings of the run.
        noise: replaces tokens before the network reads them; None for none.

    Attributes:
        may_skip: whether the loss is scaled, so that a step whose gradients overflow float16 is left out.
        traces: how often the compiled function was traced.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        config: Config,
        noise: TokenNoise | None = None,
    ):
        self._model, self._optimizer, self._strategy, self._config = model, optimizer, strategy, config
        self._noise = noise
        self._variables = model.trainable_variables
        self._sizes = [variable.shape.num_elements() for variable in (v.value for v in self._variables)]
        self.may_skip = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._rows = (
            config.batches.batch_size // strategy.num_replicas_in_sync // config.batches.micro_batches
        )
        self._gradients = self._gradients_of_micro_batch
        if config.running.jit == "on":
            self._gradients = tf.function(self._gradients, jit_compile=True)
        self.traces = 0

    @tf.function
    def __call__(self, iterator, state, first_step, tables, count):
        """Carry out `count` steps.

        Args:
            iterator: over the (distributed) batches, at `first_step`.
            state: the carried state of every replica.
            first_step: int64 scalar.
            tables: `learning_rate`, `dropout` and, with noise, `token_noise`: [K] float32 each, the values of
                the coming steps; K never changes.
            count: int32 scalar, at most K.

        Returns:
            [K, 6] float32 with the `VALUES` of each step (zeros after `count`), and the state.
        """
        self.traces += 1
        size = tables["learning_rate"].shape[0]
        results = tf.TensorArray(tf.float32, size, element_shape=[len(VALUES)])
        previous = tf.zeros([])
        for k in tf.range(count):
            with tf.control_dependencies([previous]):
                asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            first_input = self._strategy.experimental_local_results(batch[1])[0]
            with tf.control_dependencies([first_input]):
                waited = tf.cast(tf.timestamp() - asked, tf.float32)
            step = first_step + tf.cast(k, tf.int64)
            rates = {name: table[k] for name, table in tables.items()}
            summed, state = self._strategy.run(self._on_replica, args=(batch, state, step, rates))
            gradients, nats, correct, weight = self._reduced(summed)
            norm = self._update(gradients, weight, rates["learning_rate"])
            # Without loss scaling nothing is left out, and a norm that is not finite is shown as it is.
            skipped = tf.constant(self.may_skip) & ~tf.math.is_finite(norm)
            shown = tf.where(skipped, 0.0, norm)
            values = tf.stack([nats, correct, weight, shown, waited, tf.cast(skipped, tf.float32)])
            results = results.write(k, values)
            previous = norm
        return results.stack(), state

    def _on_replica(self, batch, state, step, rates):
        """Sum gradients and losses over the micro-batches of this replica."""
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        micro_batches = self._config.batches.micro_batches
        first = replica * micro_batches * self._rows
        if micro_batches == 1:
            return self._gradients(batch, state, step, rates, first)

        def rows_of(k, structure):  # Not a slice from k * rows on, whose number of rows would be unknown.
            return tf.nest.map_structure(
                lambda value: tf.reshape(value, [micro_batches, self._rows, *value.shape[1:]])[k], structure
            )

        def one_more(k, total, arrays):
            begin = first + tf.cast(k, tf.int64) * self._rows
            summed, after = self._gradients(rows_of(k, batch), rows_of(k, state), step, rates, begin)
            total = [a + b for a, b in zip(total, summed)]
            return k + 1, total, [a.write(k, value) for a, value in zip(arrays, tf.nest.flatten(after))]

        zeros = [tf.zeros(shape) for shape in [v.shape for v in self._variables] + [[]] * 3]
        arrays = [
            tf.TensorArray(value.dtype, micro_batches, element_shape=[self._rows, *value.shape[1:]])
            for value in tf.nest.flatten(state)
        ]
        _, total, arrays = tf.while_loop(
            lambda k, *_: k < micro_batches, one_more, (tf.constant(0), zeros, arrays), parallel_iterations=1
        )
        flat = [tf.reshape(a.stack(), v.shape) for a, v in zip(arrays, tf.nest.flatten(state))]
        return total, tf.nest.pack_sequence_as(state, flat)

    def _gradients_of_micro_batch(self, batch, state, step, rates, first_row):
        """Return the sums [gradients ..., nats, correct, weight] and the state after the batch."""
        inputs, targets, weights = batch
        seed = self._config.batches.seed
        draw = Draw(seed, step, rates["dropout"], first_row) if self._config.model.dropout else None
        if self._noise is not None:
            noise = Draw(seed, step, rates["token_noise"], first_row)
            inputs = {**inputs, "tokens": self._noise(inputs["tokens"], draw=noise)}
        with tf.GradientTape() as tape:
            features, state = self._model.forward(inputs, state, draw)
            sums = next_token_loss(
                self._model.project(features), targets, weights, self._config.learning.label_smoothing
            )
            objective = self._optimizer.scale_loss(sums.objective) if self.may_skip else sums.objective
        gradients = tape.gradient(objective, [variable.value for variable in self._variables])
        # Rows of a sparse gradient that belong to the same token are summed here, before any norm is taken.
        gradients = [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]
        return [*gradients, sums.nats, sums.correct, sums.weight], state

    def _reduced(self, summed):
        """Sum over all replicas: one flat tensor, so that it crosses the network once."""
        if self._strategy.num_replicas_in_sync == 1:
            parts = [self._strategy.experimental_local_results(part)[0] for part in summed]
        else:
            flat = self._strategy.run(
                lambda parts: tf.concat([tf.reshape(part, [-1]) for part in parts], 0), (summed,)
            )
            flat = self._strategy.reduce(tf.distribute.ReduceOp.SUM, flat, axis=None)
            parts = tf.split(flat, [*self._sizes, 1, 1, 1])
        gradients = [tf.reshape(part, v.shape) for part, v in zip(parts, self._variables)]
        return gradients, *(tf.reshape(part, []) for part in parts[-3:])

    def _update(self, gradients, weight, learning_rate):
        """Divide once, add penalties, clip, apply; return the norm before clipping."""
        learning = self._config.learning
        # LossScaleOptimizer divides by its scale itself, so the gradients it gets are scaled again.
        scale = self._optimizer.dynamic_scale.value if self.may_skip else 1.0
        gradients = [gradient / (tf.maximum(weight, 1.0) * scale) for gradient in gradients]
        gradients = add_penalties(gradients, self._variables, learning.l1, learning.l2)
        norm = tf.linalg.global_norm(gradients)
        if learning.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, learning.clip_norm, use_norm=norm)
        if self.may_skip:
            gradients = [gradient * scale for gradient in gradients]
        self._optimizer.learning_rate.assign(learning_rate)
        self._optimizer.apply(gradients, self._variables)
        return norm
