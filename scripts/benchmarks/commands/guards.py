"""What the guard of the step costs: the same step with and without it, in turn."""

import math
import statistics
import time
from collections.abc import Iterator

import tensorflow as tf

from benchmarks.trainers import trainer_of
from lm_keras import optimizers
from lm_keras.config import from_flat
from lm_keras.training.environment import machine
from lm_keras.training.guard import LEFT_OUT, Guard
from lm_keras.training.step import TrainingStep

SHAPES: dict[str, dict] = {
    "the article's listing": {
        "vocab_size": 1_000, "embedding_dim": 16, "hidden_units": 128, "sequence_length": 32,
        "batch_size": 32,
    },
    "quickstart": {
        "vocab_size": 2_000, "embedding_dim": 128, "hidden_units": 512, "sequence_length": 16,
        "batch_size": 32,
    },
    "characters": {"vocab_size": 65, "embedding_dim": 64, "hidden_units": 512, "sequence_length": 64,
        "batch_size": 32},
    "n-gram": {
        "model": "ngram", "vocab_size": 2_000, "embedding_dim": 128, "hidden_units": 512,
        "sequence_length": 64,
        "batch_size": 32,
    },
}  # fmt: skip
"""Settings to measure; `vocab_size` is that of random tokens."""

STEPS_PER_CALL = 5


class _Trusting(Guard):
    def __call__(self, loss, norm, scale, recent, empty):
        return dict.fromkeys(LEFT_OUT, tf.constant(False)), recent


class _Unguarded(TrainingStep):
    """The step without all that the guard needs."""

    def __init__(self, model, optimizer, strategy, config):
        super().__init__(model, optimizer, strategy, config)
        self.guard = _Trusting("stop", 0.0, 1, False)

    def _on_replica(self, *args):
        return self._over_micro_batches(*args)

    def _update(self, gradients, factor, learning_rate, left_out, empty):
        self._optimizer.learning_rate.assign(learning_rate)
        optimizers.apply(self._optimizer, gradients, factor, self._variables)


def guards(repeats: int) -> Iterator[dict]:
    """Measure the time of a step with the guard against non-finite numbers and spikes, and without.

    A measurement is short and its neighbour the other kind: what else a machine does changes from second to
    second, and single pairs differ by more than what is asked for. The median of many is known better.

    Args:
        repeats: pairs of measurements of `STEPS_PER_CALL` steps, in turn; with fewer than 6 the confidence is
            less.

    Yields:
        For each shape the median milliseconds of both, the median of their ratios, and between what that lies
        with 95 % confidence, by its order statistics.
    """
    for name, settings in SHAPES.items():
        shape = {
            "tokenizer": "char",
            "steps": 10,
            "optimizer": "adamw",
            "steps_per_call": STEPS_PER_CALL,
            **settings,
        }
        trainers = []
        for guarded in (True, False):
            trainer = trainer_of(from_flat({**shape, "spike_sigma": 6.0 if guarded else 0.0}))
            if not guarded:
                trainer.compiled_step = _Unguarded(
                    trainer.model, trainer.model.optimizer, trainer.strategy, trainer.config
                )
            trainers.append(_Timed(trainer))
        for trainer in trainers:
            trainer.milliseconds(2)  # Compiles.
        pairs = []
        for repeat in range(repeats):
            order = trainers if repeat % 2 else trainers[::-1]
            times = {trainer: trainer.milliseconds(1) for trainer in order}
            pairs.append([times[trainer] for trainer in trainers])
        ratios = sorted(with_guard / without for with_guard, without in pairs)
        lowest = max(0, math.floor((repeats - 1.96 * math.sqrt(repeats)) / 2))
        yield {
            "step": name,
            "milliseconds_with": round(statistics.median(pair[0] for pair in pairs), 2),
            "milliseconds_without": round(statistics.median(pair[1] for pair in pairs), 2),
            "ratio": round(statistics.median(ratios), 3),
            "confidence": f"{ratios[lowest]:.3f} to {ratios[-1 - lowest]:.3f}",
            "repeats": repeats,
            "machine": machine(),
        }


class _Timed:
    """Calls the compiled step of a trainer again and again."""

    def __init__(self, trainer):
        trainer.total_steps = 10**9
        self._trainer, self._recent = trainer, trainer._recent
        self._state = trainer._workers.scattered(trainer._carried)
        self._batches = trainer._distributed_batches()
        self._tables = {name: tf.zeros([STEPS_PER_CALL]) for name in ("learning_rate", "dropout")}

    def milliseconds(self, calls: int) -> float:
        """Return the time of a step, measured for `calls` calls."""
        began = time.perf_counter()
        for _ in range(calls):
            results, self._state, self._recent, _ = self._trainer.compiled_step(
                self._batches, self._state, self._recent, tf.constant(0, tf.int64), self._tables,
                tf.constant(STEPS_PER_CALL),
            )  # fmt: skip
            results["nats"].numpy()
        return 1000 * (time.perf_counter() - began) / (calls * STEPS_PER_CALL)
