"""What the vocabulary loss takes, beside the plain form that holds all logits."""

import statistics
import time
from collections.abc import Iterator

import tensorflow as tf

from lm_keras.benchmarks.candidates import Running
from lm_keras.benchmarks.train import between
from lm_keras.config import Config
from lm_keras.objectives.losses import next_token_loss
from lm_keras.training.environment import machine


def loss(config: Config, repeats: int) -> Iterator[dict]:
    """Form loss and gradients of random features, in pieces and in the plain form, each in a process of its own, in turn.

    Args:
        config: `vocab_size`, `hidden_units`, `batch_size` and `sequence_length` are the shape.
        repeats: how often each is measured.

    Yields:
        For either form: rows, vocabulary, milliseconds with the middle half, and the memory that its process took
        beyond what it had with features, matrix and TensorFlow in it; for the plain one the ratio of its time to ours.
    """
    names = ("loss_in_pieces", "plain_loss")
    running = [Running(name, config) for name in names]
    try:
        before = {each.name: each.call("ready") for each in running}
        times: dict[str, list[float]] = {name: [] for name in names}
        for repeat in range(repeats + 1):
            for each in running if repeat % 2 else running[::-1]:
                elapsed = each.call("measure")
                if repeat:  # The first one compiles.
                    times[each.name].append(elapsed)
        for each in running:
            ratios = [theirs / ours for ours, theirs in zip(times[names[0]], times[each.name])]
            yield {
                "form": each.name.replace("_", " "),
                "rows": config.batches.batch_size * config.batches.sequence_length,
                "width": config.model.units,
                "vocab_size": config.data.vocab_size,
                "milliseconds": round(1000 * statistics.median(times[each.name])),
                "middle_half": between([1000 * value for value in times[each.name]]),
                "mebibytes": round(each.peak_mebibytes() - before[each.name]),
                "times_slower": round(statistics.median(ratios), 2),
                "times_slower_middle_half": between(ratios),
                "repeats": repeats,
                "machine": machine(),
            }
    finally:
        for each in running:
            each.stop()


class Candidate:
    """Features, output matrix and targets; a subclass says how the loss is formed."""

    def __init__(self, config: Config):
        rows, length = config.batches.batch_size, config.batches.sequence_length
        width, vocab_size = config.model.units, config.data.vocab_size
        self._features = tf.random.stateless_normal([rows, length, width], [1, 2])
        self._matrix = 0.05 * tf.random.stateless_normal([width, vocab_size], [1, 3])
        self._targets = tf.random.stateless_uniform([rows, length], [1, 4], 0, vocab_size, tf.int32)
        self._bias, self._weights = tf.zeros([vocab_size]), tf.ones([rows, length])
        self._gradients = tf.function(self._gradients_of_loss, autograph=False)

    def ready(self) -> float:
        """Return the mebibytes that the process holds."""
        with open("/proc/self/status", encoding="utf-8") as file:
            return int(file.read().split("VmRSS:")[1].split()[0]) / 2**10

    def measure(self) -> float:
        """Return the seconds that loss and gradients take."""
        began = time.perf_counter()
        gradients = self._gradients(self._features, self._matrix, self._bias)
        float(gradients[0][0, 0, 0])
        return time.perf_counter() - began

    def _gradients_of_loss(self, features, matrix, bias):
        with tf.GradientTape() as tape:
            tape.watch([features, matrix, bias])
            objective = self._loss(features, matrix, bias)
        return tape.gradient(objective, [features, matrix, bias])

    def _loss(self, features, matrix, bias):
        return next_token_loss(features, (matrix, bias, False), self._targets, self._weights).objective


class PlainCandidate(Candidate):
    """All logits at once, and TensorFlow's own loss."""

    def _loss(self, features, matrix, bias):
        logits = tf.tensordot(features, matrix, 1) + bias
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(self._targets, logits))
