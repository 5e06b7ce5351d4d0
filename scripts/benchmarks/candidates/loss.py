"""The vocabulary loss alone: in pieces, compiled between its products, and in the plain form."""

import time

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.objectives import compiled_loss
from lm_keras.objectives.losses import next_token_loss


class LossInPieces:
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


class CompiledLoss(LossInPieces):
    """The same with what is between the products compiled by XLA."""

    def _loss(self, features, matrix, bias):
        given = features, (matrix, bias, False), self._targets, self._weights
        return next_token_loss(*given, piece=compiled_loss.piece).objective


class PlainLoss(LossInPieces):
    """All logits at once, and TensorFlow's own loss."""

    def _loss(self, features, matrix, bias):
        logits = tf.tensordot(features, matrix, 1) + bias
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(self._targets, logits))
