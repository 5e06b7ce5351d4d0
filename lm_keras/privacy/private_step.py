"""What a step and a run do otherwise where the weights are to reveal little of the text."""

import dataclasses
import math

import keras
import tensorflow as tf

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.data.batch import Batch
from lm_keras.data.store import TokenStore
from lm_keras.privacy import clipping, key, noise
from lm_keras.privacy.guarantee import Guarantee, promised
from lm_keras.privacy.row_loss import row_objective
from lm_keras.privacy.sampling import SampledOrder, SampledTask, units_of, with_secret_masks
from lm_keras.registry import JIT_OF_PARTS
from lm_keras.tasks.task import Task

ROWS, PARTS = 32, 4
"""Fewest rows of a part, about, and most parts of the expected sample. A sample rarely fills the rows of a
step, so they are computed in parts, and parts without rows are not computed. More parts fit a sample better,
and each adds to the whole sum. Where the gradient of each row is formed all parts have the fewest rows, since
that takes memory.
"""

ROUNDING = 1e-4
"""Share of the clipping norm that is left for what float32 rounds."""

NOT_COVERED = (
    "privacy: not covered are training curves, measures of private validation text, what is chosen by them,"
    " and sizes and hashes of the text; the epsilons of several runs on one text add up"
)
"""What a private run says of its own files."""


class PrivateStep:
    """Clips the gradients of rows, and adds noise to their sum.

    Args:
        guarantee: what the run promises.
        config: the settings of the run.
        secret: of the run, see `lm_keras.privacy.key`.
        replicas: that share the rows of a step.

    Attributes:
        guarantee: the same.
        config: the settings of the loop: rows for the largest sample, in parts; no other clipping.
    """

    def __init__(self, guarantee: Guarantee, config: Config, secret: bytes, replicas: int):
        self.guarantee, self._secret = guarantee, secret
        self._key = noise.key_of(key.derived(secret, "noise"))
        self._ghosts = config.model.has("ghost_norms") and not config.running.rematerialize
        self._objective = row_objective(
            config.label_smoothing, config.learning.z_loss, config.running.jit in JIT_OF_PARTS
        )
        batches = config.batches
        at_once = replicas * batches.micro_batches
        most = max(1, batches.batch_size // (at_once * ROWS))
        usual = batches.micro_batches * (min(PARTS, most) if self._ghosts else most)
        # The usual parts hold a sample that is one standard deviation larger than expected.
        rows = math.ceil((batches.batch_size + math.sqrt(batches.batch_size)) / (replicas * usual))
        rows += rows % 2  # Two groups of rows are computed side by side.
        parts = -(-guarantee.cap // (replicas * rows))
        batches = dataclasses.replace(batches, batch_size=replicas * parts * rows, micro_batches=parts)
        learning = dataclasses.replace(config.learning, clip_norm=0.0)
        self.config = dataclasses.replace(config, batches=batches, learning=learning)

    @property
    def lines(self) -> tuple[str, str, str]:
        """Return what a person is told when the run begins."""
        return f"privacy: {self.guarantee.line}", f"privacy: {self.guarantee.details}", NOT_COVERED

    @property
    def expected(self) -> tf.Tensor:
        """Return by what a sum of gradients is divided, a constant: how many there are is no secret."""
        return tf.constant(float(self.guarantee.rows))

    def task(self, task: Task, store: TokenStore) -> SampledTask:
        """Return the task of the training, whose rows are sampled.

        Args:
            task: of the run.
            store: the training text.
        """
        masks, length = key.derived(self._secret, "masks"), task.order(store).sequence_length
        order = SampledOrder(
            units_of(store, self.guarantee.unit, length),
            self.guarantee.rows,
            self.guarantee.cap,
            self.config.batches.batch_size,
            length,
            key.derived(self._secret, "samples"),
        )
        return SampledTask(with_secret_masks(task, masks), order)

    def spent(self, step: int) -> dict[str, float]:
        """Return `epsilon` of the steps so far, where it is known."""
        epsilon = self.guarantee.epsilon_after(step)
        return {} if epsilon is None else {"epsilon": epsilon}

    def parts_of(self, batch: Batch) -> tf.Tensor:
        """Return how many parts of a batch have a row with a target."""
        count = self.config.batches.micro_batches
        taken = tf.reduce_any(tf.reshape(batch.weights > 0, [count, -1]), axis=1)
        return tf.reduce_max(tf.where(taken, tf.range(1, count + 1), 0))

    def clipped(self, model: keras.Model, batch: Batch, compiled: bool) -> list[tf.Tensor]:
        """Return the sums of the clipped gradients of rows, a variable each, and then those of the losses.

        Args:
            model: the network.
            batch: rows.
            compiled: whether XLA compiles the gradients of rows.
        """
        variables = model.trainable_variables
        clip = (1 - ROUNDING) * self.guarantee.clip
        way = clipping.ghost if self._ghosts else clipping.mapped
        totals, sums, _ = way(model, batch, self._objective, clip, variables, compiled)
        return [*totals, *sums.values()]

    def noised(self, totals: list[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """Return sums over the whole batch with the noise of a step."""
        deviation = self.guarantee.noise * self.guarantee.clip
        if not deviation:
            return totals
        found = noise.normal(self._key, step, [total.shape for total in totals], deviation)
        return [total + one for total, one in zip(totals, found, strict=True)]


def promise_of(config: Config, task: Task, store: TokenStore, steps: int) -> Guarantee:
    """Work out what a run with these settings promises about its training text.

    Raises:
        InputError: it cannot promise that; see `lm_keras.privacy.guarantee.promised`.
    """
    units = units_of(store, config.privacy.dp_unit, task.order(store).sequence_length)
    return promised(config, len(units), steps)


def private_of(folder: RunFolder, config: Config, replicas: int) -> PrivateStep | None:
    """Return what the run in a folder promised when it began, with its secret; None if it is not private.

    Raises:
        InputError: the secret is missing, or others may read it.
    """
    if not config.privacy.limits:
        return None
    guarantee = Guarantee.from_json(folder.read_data()["privacy"])
    seed = config.privacy.dp_seed
    secret = key.read(folder.path) if seed is None else key.of_seed(seed)
    return PrivateStep(guarantee, config, secret, replicas)
