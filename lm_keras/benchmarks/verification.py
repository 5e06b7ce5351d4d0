"""Hold the estimates of a dry run against measurements of the real step."""

import dataclasses
import math
import multiprocessing
import os
from collections.abc import Iterator

import tensorflow as tf

from lm_keras import optimizers
from lm_keras.callbacks import LearningRateSchedule
from lm_keras.config import Config, from_flat
from lm_keras.models import FAMILIES
from lm_keras.training import distribution, estimates, machine
from lm_keras.training.known_text import random_store
from lm_keras.training.trainer import Trainer
from lm_keras.training.trial import NEVER

SHAPES: dict[str, dict] = {
    "characters": {"vocab_size": 60, "embedding_dim": 64, "hidden_units": 512, "sequence_length": 64, "batch_size": 64},
    "three layers": {
        "vocab_size": 100, "embedding_dim": 64, "hidden_units": 512, "num_layers": 3, "sequence_length": 128,
        "batch_size": 32,
    },
    "large vocabulary": {
        "vocab_size": 20_000, "embedding_dim": 256, "hidden_units": 512, "sequence_length": 32, "batch_size": 32,
    },
    "wide, tied": {
        "vocab_size": 4_000, "embedding_dim": 512, "hidden_units": 1_536, "tie_embeddings": True, "sequence_length": 8,
        "batch_size": 32,
    },
    "four micro-batches": {
        "vocab_size": 10_000, "embedding_dim": 256, "hidden_units": 256, "num_layers": 2, "sequence_length": 32,
        "batch_size": 128, "micro_batches": 4,
    },
    "bfloat16": {
        "vocab_size": 10_000, "embedding_dim": 128, "hidden_units": 512, "num_layers": 2, "sequence_length": 16,
        "batch_size": 64, "precision": "mixed_bfloat16", "dropout": 0.1,
    },
    "GPT": {
        "model": "gpt", "vocab_size": 2_000, "embedding_dim": 256, "num_layers": 4, "num_heads": 8, "sequence_length": 128,
        "batch_size": 16,
    },
    "n-gram": {
        "model": "ngram", "vocab_size": 5_000, "embedding_dim": 128, "hidden_units": 1_024, "sequence_length": 64,
        "batch_size": 64,
    },
}  # fmt: skip
"""Settings to measure; `vocab_size` is that of random tokens."""

TINY = {"vocab_size": 11, "embedding_dim": 5, "hidden_units": 8}
"""In place of a shape's own: what TensorFlow needs for code, threads and graphs, whatever the sizes."""

STEPS = 3

PLAIN_ALLOCATOR = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
"""Environment in which TensorFlow gives memory back as soon as a tensor is gone.

By default its allocator on CPUs keeps what it had, in pieces up to twice as large as asked for.
"""


def trainer_of(config: Config) -> Trainer:
    """Build everything that a step needs, with random tokens and in this process."""
    vocab_size, batches = config.data.vocab_size, config.batches
    strategy = distribution.set_up(config).strategy
    with strategy.scope():
        model = FAMILIES[config.model.model](config, vocab_size)
        model.optimizer = optimizers.build(config.learning, model.trainable_variables)
    store = random_store((STEPS + 1) * batches.batch_size * batches.sequence_length, vocab_size)
    return Trainer(model, strategy, config, store, STEPS, None)


def train(trainer: Trainer) -> None:
    """Carry out some steps at a learning rate of 0, one a call."""
    trainer.train([LearningRateSchedule(0.0, lambda step: 1.0)], NEVER, 1)


def counted_flops(trainer: Trainer) -> dict[str, int]:
    """Trace the compiled step and count the FLOPs in its graph.

    Returns:
        `products`: those of matrix products and convolutions of one step, loops as often as they turn.
        `others`: the elements that additions, multiplications, roots and so on of one step make.
    """
    rates = {"learning_rate": tf.zeros([1]), "dropout": tf.zeros([1])}
    traced = trainer.compiled_step.__call__.get_concrete_function(
        trainer._batches(),
        trainer._scattered(),
        trainer._recent,
        tf.constant(0, tf.int64),
        rates,
        tf.constant(1),
    )
    return count(traced.graph)


def count(graph) -> dict[str, int]:
    """Count the FLOPs of a graph and of the loops and functions in it."""
    found = {"products": 0, "others": 0}
    for operation in graph.get_operations():
        kind, times = operation.type, 1
        found["products"] += _products(operation)
        if kind in ELEMENTWISE or kind in REDUCING:
            elements = [*operation.inputs, *operation.outputs][0 if kind in REDUCING else -1].shape
            if elements.is_fully_defined():
                found["others"] += REDUCING.get(kind, 1) * math.prod(elements)
        if kind in UPDATES:
            operations, gradient = UPDATES[kind]
            found["others"] += operations * math.prod(operation.inputs[gradient].shape)
        inside = []
        if kind in ("While", "StatelessWhile"):
            inside, times = ["body"], _turns(graph, operation)
        elif kind in ("PartitionedCall", "StatefulPartitionedCall"):
            inside = ["f"]
        elif kind in ("If", "StatelessIf"):  # One branch leaves the step out and does nothing.
            inside = ["then_branch", "else_branch"]
        for function in inside:
            name = operation.get_attr(function).name
            for sort, flops in count(graph._get_function(name).graph).items():
                found[sort] += times * flops
    return found


def _products(operation) -> int:
    """Return the FLOPs of a matrix product or of a convolution without padding, forward or backward; else 0."""
    kind, inputs, outputs = operation.type, operation.inputs, operation.outputs
    if kind in ("MatMul", "BatchMatMulV2"):
        if outputs[0].shape[-1] == 1:
            return 0  # A matrix times a vector: the sum that is the gradient of a bias.
        transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return 2 * inputs[0].shape[-2 if transposed else -1] * math.prod(outputs[0].shape)
    convolutions = {
        "Conv2D": lambda: (inputs[1], outputs[0]),
        "Conv2DBackpropInput": lambda: (inputs[1], inputs[2]),
        "Conv2DBackpropFilter": lambda: (outputs[0], inputs[2]),
    }
    if kind not in convolutions:
        return 0
    filters, result = convolutions[kind]()
    return 2 * math.prod(filters.shape[:-1]) * math.prod(result.shape)


ELEMENTWISE = {
    "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Square", "Sqrt", "Rsqrt", "Maximum", "Sign", "Pow", "Abs", "Neg",
    "Sigmoid", "Tanh", "AssignAddVariableOp", "AssignSubVariableOp",
}  # fmt: skip

UPDATES = {
    "ResourceApplyGradientDescent": (2, 2),
    "ResourceApplyKerasMomentum": (4, 3),
    "ResourceApplyAdam": (12, 9),
}
"""Operations for each element of the gradient, and which input that is."""

REDUCING = {"Sum": 1, "Mean": 1, "Max": 1, "L2Loss": 2}
"""Operations for each element that goes in."""


def _turns(graph, loop) -> int:
    """Return how often a loop turns; the loop over the steps of a call counts once."""
    condition = graph._get_function(loop.get_attr("cond").name).graph
    limits = [
        tf.get_static_value(less.inputs[1]) for less in condition.get_operations() if less.type == "Less"
    ]
    return next((int(limit) for limit in limits if limit is not None), 1)


def measured_memory(settings: dict) -> int:
    """Return how many bytes more than a tiny network of the same form these settings need, for this process.

    The tiny one is trained twice: what the first grows by is TensorFlow's code and threads, and what the second grows
    by is its graphs, which are subtracted as well.
    """
    tiny = _config({**settings, **TINY})
    train(trainer_of(tiny))
    graphs = _growth(tiny)
    return _growth(_config(settings)) - graphs


def _growth(config: Config) -> int:
    meter = machine.MemoryMeter(distribution.set_up(config))
    train(trainer_of(config))
    return meter.peak()


def in_process(environment: dict[str, str], settings: dict) -> int:
    """Return `measured_memory` of a process of its own, which begins with this environment."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(measured_memory, (settings,))
    finally:
        os.environ.clear()
        os.environ.update(before)


def _config(settings: dict) -> Config:
    return from_flat({**settings, "steps": STEPS, "steps_per_call": 1})


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Estimates of one shape, and what was measured.

    Attributes:
        shape: a key of `SHAPES`.
        estimated_bytes: of weights, slots and a step at its peak.
        measured_bytes: growth of a process with an allocator that gives back, without graphs.
        default_bytes: the same with TensorFlow's own allocator, which keeps.
        estimated_flops: of a step, without its update.
        counted_flops: matrix products in the graph of the step.
        parameters: of the network.
    """

    shape: str
    parameters: int
    estimated_bytes: int
    measured_bytes: int
    default_bytes: int
    estimated_flops: int
    counted_flops: int


def compare(shape: str) -> Comparison:
    """Estimate and measure one of `SHAPES`; its measurements take about a minute."""
    config = _config(SHAPES[shape])
    trainer = trainer_of(config)
    flops = estimates.flops(trainer.model, config)
    return Comparison(
        shape,
        sum(layer.parameters for layer in estimates.layers(trainer.model)),
        estimates.memory(trainer.model, config, 1).peak,
        in_process(PLAIN_ALLOCATOR, SHAPES[shape]),
        in_process({}, SHAPES[shape]),
        flops.step - flops.update,
        counted_flops(trainer)["products"],
    )


def comparisons() -> Iterator[dict]:
    """Compare every shape; sizes in MiB and GFLOPs, estimates by measurements."""
    for shape in SHAPES:
        result = compare(shape)
        yield {
            "shape": shape,
            "parameters": f"{result.parameters:,}",
            "memory estimated, MiB": round(result.estimated_bytes / 2**20, 1),
            "measured": round(result.measured_bytes / 2**20, 1),
            "ratio": round(result.estimated_bytes / result.measured_bytes, 2),
            "with the default allocator": round(result.default_bytes / 2**20, 1),
            "GFLOPs a step, estimated": round(result.estimated_flops / 1e9, 3),
            "in the graph": round(result.counted_flops / 1e9, 3),
        }
