"""Hold the estimates of a dry run against measurements of the real step."""

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator

from benchmarks import graph_flops
from benchmarks.trainers import STEPS, train, trainer_of
from lm_keras.config import Config, from_flat
from lm_keras.training import distribution, estimates, memory

SHAPES: dict[str, dict] = {
    "characters": {"vocab_size": 60, "embedding_dim": 64, "hidden_units": 512, "sequence_length": 64,
        "batch_size": 64},
    "three layers": {
        "vocab_size": 100, "embedding_dim": 64, "hidden_units": 512, "num_layers": 3, "sequence_length": 128,
        "batch_size": 32,
    },
    "large vocabulary": {
        "vocab_size": 20_000, "embedding_dim": 256, "hidden_units": 512, "sequence_length": 32,
        "batch_size": 32,
    },
    "wide, tied": {
        "vocab_size": 4_000, "embedding_dim": 512, "hidden_units": 1_536, "tie_embeddings": True,
        "sequence_length": 8,
        "batch_size": 32,
    },
    "four micro-batches": {
        "vocab_size": 10_000, "embedding_dim": 256, "hidden_units": 256, "num_layers": 2,
        "sequence_length": 32,
        "batch_size": 128, "micro_batches": 4,
    },
    "bfloat16": {
        "vocab_size": 10_000, "embedding_dim": 128, "hidden_units": 512, "num_layers": 2,
        "sequence_length": 16,
        "batch_size": 64, "precision": "mixed_bfloat16", "dropout": 0.1,
    },
    "GPT": {
        "model": "gpt", "vocab_size": 2_000, "embedding_dim": 256, "num_layers": 4, "num_heads": 8,
        "sequence_length": 128,
        "batch_size": 16,
    },
    "n-gram": {
        "model": "ngram", "vocab_size": 5_000, "embedding_dim": 128, "hidden_units": 1_024,
        "sequence_length": 64,
        "batch_size": 64,
    },
}  # fmt: skip
"""Settings to measure; `vocab_size` is that of random tokens."""

TINY = {"vocab_size": 11, "embedding_dim": 5, "hidden_units": 8}
"""In place of a shape's own: what TensorFlow needs for code, threads and graphs, whatever the sizes."""

PLAIN_ALLOCATOR = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
"""Environment in which TensorFlow gives memory back as soon as a tensor is gone.

By default its allocator on CPUs keeps what it had, in pieces up to twice as large as asked for.
"""


def measured_memory(settings: dict) -> int:
    """Return how many bytes more than a tiny network of the same form these settings need, for this process.

    The tiny one is trained twice: what the first grows by is TensorFlow's code and threads, and what the
    second grows by is its graphs, which are subtracted as well.
    """
    tiny = _config({**settings, **TINY})
    train(trainer_of(tiny))
    graphs = _growth(tiny)
    return _growth(_config(settings)) - graphs


def _growth(config: Config) -> int:
    meter = memory.MemoryMeter(distribution.set_up(config))
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
    flops = estimates.flops(trainer.model, trainer.task, config)
    return Comparison(
        shape,
        sum(layer.parameters for layer in estimates.layers(trainer.model)),
        estimates.memory(trainer.model, trainer.task, config, 1).peak,
        in_process(PLAIN_ALLOCATOR, SHAPES[shape]),
        in_process({}, SHAPES[shape]),
        flops.step - flops.update,
        graph_flops.counted_flops(trainer)["products"],
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
