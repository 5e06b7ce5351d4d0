"""What a run costs, counted from shapes before anything is allocated: parameters, memory, FLOPs.

FLOPs: 2 for a multiply-add; the backward pass is twice the forward pass. Bytes are those of one replica.
"""

import dataclasses
import math
from collections.abc import Iterable

import keras
import tensorflow as tf

from lm_keras import optimizers
from lm_keras.callbacks.projector import MAX_POINTS, table_of
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.models import NUM_PARAMETERS
from lm_keras.objectives.losses import PIECE_VALUES
from lm_keras.tasks.task import Task

LOGITS_COPIES = 2
"""Logits and their gradient, [B T, V] float32 each."""

SMOOTHED_LOGITS_COPIES = 5
"""With label smoothing: also the gradients of the terms it adds, before they are summed."""

SMALL_FILES = 16 * 2**10
"""Files of a checkpoint beside the one with the tensors; those with which a run describes itself."""

NAMES = 512
"""What a checkpoint needs to name a variable."""

LABEL = 64
"""A token in the projector's list."""

LOGGED = 2 * 2**10
"""A line of metrics.jsonl, the same in TensorBoard, and samples; the quickstart has 1.0 KiB of them a line.
"""

HISTOGRAM = 2 * 2**10
"""A histogram in TensorBoard."""

BEYOND_EVERY_MACHINE = 2**50
"""Bytes of a step for which no shapes are made any more."""

BACKWARD = 2
"""Products in the backward pass for each in the forward pass: one for the input, one for the weights."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """Weights that belong together.

    Attributes:
        name: of the layer, or of the weight where it belongs to the network itself.
        shapes: of each weight by its name.
        parameters: how many numbers they have.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    parameters: int


def layers(model: keras.Model) -> list[Layer]:
    """Return the trainable weights by layer, in the order of the forward pass as far as layers have one."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    own: dict[str, dict[str, tuple[int, ...]]] = {}
    for variable in model.trainable_variables:
        *above, name = variable.path.split("/")
        inside = above[-1] if above and above[-1] != model.name else None
        group = found.setdefault(inside, {}) if inside else own.setdefault(name, {})
        group[name] = tuple(variable.shape)
    # Keras lists a network's own weights first; here they are at its end.
    return [
        Layer(name, shapes, sum(map(math.prod, shapes.values()))) for name, shapes in {**found, **own}.items()
    ]


@dataclasses.dataclass(frozen=True)
class Memory:
    """Estimated bytes of one replica.

    While the network runs forward and backward, activations and logits are held, of one micro-batch. They are
    gone when the weights are updated, which needs all gradients and what the optimizer makes of them.

    Attributes:
        weights: the trainable variables.
        slots: the optimizer's variables.
        activations: what the family says, for one micro-batch, and short copies of the weights.
        logits: their copies, for one micro-batch.
        gradients: those held together with activations and logits: the largest, formed first as it is mostly
            that of the output, twice where the loss adds it up piece by piece; with micro-batches also the
            sums so far.
        update: all gradients, and two intermediate results for the largest if the optimizer takes several
            passes.
    """

    weights: int
    slots: int
    activations: int
    logits: int
    gradients: int
    update: int

    @property
    def peak(self) -> int:
        """Return the most that is held at a time."""
        return self.weights + self.slots + max(self.activations + self.logits + self.gradients, self.update)


def memory(model: keras.Model, task: Task, config: Config, replicas: int) -> Memory:
    """Estimate the memory of a step.

    Args:
        model: a network with `model.optimizer`; shapes are all that is asked for.
        task: what it predicts.
        config: the settings of the run.
        replicas: how many share the rows of a batch.
    """
    batches = config.batches
    rows = batches.batch_size // replicas // batches.micro_batches
    weights = _bytes(model.trainable_variables)
    slots = _bytes(model.optimizer.variables)
    logits = 4 * (SMOOTHED_LOGITS_COPIES if config.label_smoothing else LOGITS_COPIES)
    short = 0
    if config.learning.precision != "float32":  # Weights and the gradient of the logits again, in 2 bytes.
        short, logits = weights // 2, logits + 2
    largest = max(_bytes([variable]) for variable in model.trainable_variables)
    sums = weights if batches.micro_batches > 1 else 0
    flat = 2 * weights if replicas > 1 else 0  # What crosses between the replicas, before and after.
    values = rows * task.predictions(batches.sequence_length) * (task.outputs or model.vocab_size)
    several_passes = config.learning.optimizer not in optimizers.ONE_PASS
    return Memory(
        weights,
        slots,
        model.activation_bytes(rows, task.row_length(batches.sequence_length)) + short,
        logits * _logits_held(values),
        sums + largest * (2 if _logits_held(values) < values else 1),
        sums + flat + weights + (2 * largest if several_passes and slots > largest else 0),
    )


def least_memory(task: Task, config: Config, replicas: int) -> int:
    """Return bytes that a step takes on all replicas in any case, from settings alone.

    That is the weights with their gradients, or with the logits of a micro-batch and a value for each of its
    units.
    """
    batches, model = config.batches, config.model
    rows = max(1, batches.batch_size // replicas // batches.micro_batches)
    weights = NUM_PARAMETERS[model.model](config, task.network_vocab_size, task.outputs)
    values = _logits_held(
        rows * task.predictions(batches.sequence_length) * (task.outputs or task.network_vocab_size)
    )
    values += rows * batches.sequence_length * (model.embedding_dim + model.num_layers * model.units)
    return 4 * replicas * (weights + max(weights, values))


def check_memory(task: Task, config: Config, replicas: int, there_is: int | None = None) -> None:
    """Refuse a network or a batch that memory cannot hold in any case, before anything of it is allocated.

    Args:
        task: what the run would predict.
        config: its settings.
        replicas: how many share the rows of a batch.
        there_is: memory in bytes; None if that is not known.

    Raises:
        InputError: the least that a step takes is more.
    """
    least = least_memory(task, config, replicas)
    if least > (there_is or BEYOND_EVERY_MACHINE):
        model, batches = config.model, config.batches
        here = f"this machine has {there_is / 2**30:,.0f}" if there_is else "no machine has so much"
        raise InputError(
            f"a step of this network takes {least / 2**30:,.0f} GiB or more, and {here}:"
            f" --hidden_units={model.units} --embedding_dim={model.embedding_dim}"
            f" --num_layers={model.num_layers} --batch_size={batches.batch_size}"
            f" --sequence_length={batches.sequence_length} and {task.vocab_size:,} tokens in the vocabulary;"
            " take smaller ones, or more --micro_batches, and see --dry_run"
        )


def _logits_held(values: int) -> int:
    """Return how many of the logits exist at a time."""
    return min(values, PIECE_VALUES)


@dataclasses.dataclass(frozen=True)
class Flops:
    """Floating-point operations.

    Attributes:
        forward: of one token's forward pass, by part of the network.
        update: of one update of all weights.
        tokens: of one step.
    """

    forward: dict[str, int]
    update: int
    tokens: int

    @property
    def step(self) -> int:
        """Return the FLOPs of one step: forward, backward, update."""
        return (1 + BACKWARD) * self.tokens * sum(self.forward.values()) + self.update


def flops(model: keras.Model, task: Task, config: Config) -> Flops:
    """Count the FLOPs of a step of the whole batch, those of a forward pass for each token of the text."""
    batches = config.batches
    length = batches.sequence_length
    of_a_row = model.flops(task.row_length(length), task.predictions(length))
    return Flops(
        {part: count // length for part, count in of_a_row.items()},
        optimizers.update_flops(config.learning, model.trainable_variables),
        batches.batch_size * batches.sequence_length,
    )


@dataclasses.dataclass(frozen=True)
class Disk:
    """What a run still has to write, in bytes.

    Attributes:
        checkpoint: size of one.
        count: checkpoints that will be there at a time, beyond those that are there already.
        curves: metrics, samples, events and the files of the projector.
    """

    checkpoint: int
    count: int
    curves: int

    @property
    def needed(self) -> int:
        """Return the sum."""
        return self.count * self.checkpoint + self.curves

    def parts(self) -> str:
        """Return what the sum is made of, in words."""
        return (
            f"{self.count} x {self.checkpoint / 2**20:,.1f} of checkpoints and {self.curves / 2**20:,.1f} of"
            " curves"
        )


def disk(
    model: keras.Model, config: Config, total_steps: int | None, done: int = 0, present: int = 0
) -> Disk:
    """Estimate what a run still has to write.

    There are `--keep_checkpoints`, the best one and the one that is being written, or as many as the run
    saves.

    Args:
        model: a network with `model.optimizer`; shapes are all that is asked for.
        config: the settings of the run.
        total_steps: its length, or None if that is not known yet.
        done: steps that its newest checkpoint has.
        present: checkpoints that are there.
    """
    running, batches = config.running, config.batches
    state = tf.nest.flatten(model.initial_state(batches.batch_size))
    variables = [*model.variables, *model.optimizer.variables, *state]
    count = max(1, running.keep_checkpoints + 2 - present)
    curves = SMALL_FILES
    if running.projector:  # Two: the old file stays until the new one is whole.
        table = table_of(model, model.vocab_size)
        curves += 2 * min(table.shape[0], MAX_POINTS) * (4 * table.shape[1] + LABEL)
    if total_steps is not None:
        left, every = total_steps - done, running.evaluation_interval(total_steps)
        count = min(count, left // running.checkpoint_interval(total_steps) + left // every + (left > 0))
        curves += LOGGED * (left // running.log_every + left // every)
        if running.histogram_every:
            curves += HISTOGRAM * len(model.trainable_variables) * (left // running.histogram_every)
    return Disk(_bytes(variables) + NAMES * len(variables) + SMALL_FILES, count, curves)


def _bytes(variables: Iterable[tf.Variable | keras.Variable]) -> int:
    return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)
