"""What privacy costs: gradients of rows that are clipped, and whole private steps, beside plain ones."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from benchmarks.trainers import trainer_of
from lm_keras.config import Config, from_flat
from lm_keras.privacy.guarantee import promised
from lm_keras.privacy.private_step import PrivateStep
from lm_keras.tasks import task_of
from lm_keras.training import distribution
from lm_keras.training.environment import machine
from lm_keras.training.known_text import random_store
from lm_keras.training.machine import compiles_gradients, with_jit
from lm_keras.training.trainer import Learner, Trainer

SHAPES: dict[str, dict] = {
    "lstm": {"vocab_size": 2_000, "embedding_dim": 192, "hidden_units": 384, "sequence_length": 16},
    "lstm, 128 units": {"vocab_size": 257, "embedding_dim": 32, "hidden_units": 128, "sequence_length": 64},
    "n-gram": {
        "model": "ngram", "ngram_order": 8, "vocab_size": 2_000, "embedding_dim": 128, "hidden_units": 512,
        "sequence_length": 64,
    },
    "gpt": {
        "model": "gpt", "vocab_size": 257, "embedding_dim": 128, "num_layers": 4, "sequence_length": 64,
    },
}  # fmt: skip
"""Settings to measure; `vocab_size` is that of random tokens."""

BATCHES, UNITS, STEPS_PER_CALL = (64, 256), 20_000, 5


def privacy(repeats: int) -> Iterator[dict[str, Any]]:
    """Measure plain and private steps in turn.

    Args:
        repeats: measurements of either, of `STEPS_PER_CALL` steps each.

    Yields:
        For each shape and batch the milliseconds of a plain step at their median, and the median ratio of a
        private step, noise and empty rows included, and of clipped gradients to plain ones alone.
    """
    for name, settings in SHAPES.items():
        for rows in BATCHES:
            common = {"tokenizer": "char", "steps": 10, "steps_per_call": STEPS_PER_CALL, **settings}
            config = with_jit(from_flat({**common, "batch_size": rows, "batching": "window"}))
            noisy = {"dp_noise": 1.0, "dp_delta": 1e-6, "dp_unit": "window", "dp_seed": 1}
            private = from_flat({**config.flat(), **noisy})
            plain = trainer_of(config)
            trainer = _private(private)
            steps = [_calls(one) for one in (plain, trainer)]
            gradients = _gradients(plain, trainer, rows, config)
            times = _in_turn([*steps, *gradients], repeats)
            yield {
                "step": name,
                "batch": rows,
                "milliseconds_plain": round(statistics.median(times[0]), 2),
                "ratio_step": round(_ratio(times[1], times[0]), 2),
                "ratio_gradients": round(_ratio(times[3], times[2]), 2),
                "repeats": repeats,
                "machine": machine(),
            }


def _private(config: Config) -> Trainer:
    """Return what trains with random tokens and privately; the weights begin as those of `trainer_of`."""
    length = config.batches.sequence_length
    like = trainer_of(dataclasses.replace(config, privacy=type(config.privacy)()))
    guarantee = promised(config, UNITS, config.batches.steps)
    private = PrivateStep(guarantee, config, bytes(16), 1)
    store = random_store(UNITS * (length + 1), config.data.vocab_size)
    task = private.task(task_of(config, config.data.vocab_size), store)
    learner = Learner(like.model, task, private=private)
    return Trainer(learner, distribution.set_up(config), private.config, store, config.batches.steps, None)


def _calls(trainer: Trainer) -> Callable[[], float]:
    """Return a function that carries out steps and returns the milliseconds of one."""
    trainer.total_steps = 10**9
    state = trainer._workers.scattered(trainer._carried)
    batches, tables = trainer._distributed_batches(), {}
    for name in ("learning_rate", "dropout"):
        tables[name] = tf.zeros([STEPS_PER_CALL])

    def measure() -> float:
        nonlocal state
        began = time.perf_counter()
        results, state, _, _ = trainer.compiled_step(
            batches, state, trainer._recent, tf.constant(0, tf.int64), tables, tf.constant(STEPS_PER_CALL)
        )
        results["nats"].numpy()
        return 1000 * (time.perf_counter() - began) / STEPS_PER_CALL

    return measure


def _gradients(plain: Trainer, private: Trainer, rows: int, config: Config) -> list[Callable[[], float]]:
    """Return functions that form the gradients of one batch, plain and clipped, and return milliseconds."""
    order = plain.task.order(plain._store)
    batch = plain.task.batch(
        order.rows(tf.constant(0, tf.int64), tf.range(rows, dtype=tf.int64)), plain._store, tf.constant(0)
    )
    rates, first = {"dropout": tf.zeros([])}, tf.constant(0, tf.int64)
    state = plain.model.initial_state(rows)
    step = plain.compiled_step

    @tf.function(autograph=False)
    def usual() -> list[tf.Tensor]:
        return step._gradients(batch, state, tf.constant(0, tf.int64), rates, first)[0]

    @tf.function(autograph=False)
    def clipped() -> list[tf.Tensor]:
        return private._private.clipped(plain.model, batch, compiles_gradients(config))

    def timed(run: Callable[[], list[tf.Tensor]]) -> Callable[[], float]:
        def measure() -> float:
            began = time.perf_counter()
            for _ in range(STEPS_PER_CALL):
                found = run()
            found[-1].numpy()
            return 1000 * (time.perf_counter() - began) / STEPS_PER_CALL

        return measure

    return [timed(usual), timed(clipped)]


def _in_turn(measures: list[Callable[[], float]], repeats: int) -> list[list[float]]:
    for measure in measures:
        measure()  # Compiles.
    times: list[list[float]] = [[] for _ in measures]
    for _ in range(repeats):
        for found, measure in zip(times, measures):
            found.append(measure())
    return times


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below))
