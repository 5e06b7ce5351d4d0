"""What a step costs, from shapes alone: memory and floating-point operations."""

import dataclasses
import math

import keras
import numpy as np

from lm_keras.config import Config
from lm_keras.data import scoring
from lm_keras.training.evaluation import MAX_LOGITS

LOGIT_COPIES = 3
"""Tensors of the size of the logits that live at once: the logits, their softmax, and its gradient."""

GRADIENT_COPIES = 3
"""Of each weight: the gradient as the backward pass gives it, divided by the weight of the batch, and clipped."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that one device needs beyond Python and TensorFlow themselves, by purpose.

    Attributes:
        weights: all variables of the network.
        slots: all variables of the optimizer.
        gradients: of all weights, in the copies that live at once.
        activations: what the forward pass of one micro-batch keeps for the backward pass, and its gradients.
        logits: of one micro-batch, in the copies that live at once.
        evaluation: logits of one block of evaluation, which come when those of training are gone.
    """

    weights: int
    slots: int
    gradients: int
    activations: int
    logits: int
    evaluation: int

    @property
    def peak(self) -> int:
        """Return the largest sum that lives at one time."""
        training = self.gradients + self.activations + self.logits
        return self.weights + self.slots + max(training, self.evaluation)


def memory(config: Config, model: keras.Model, replicas: int) -> Memory:
    """Estimate the memory of a run.

    Args:
        config: the settings of the run.
        model: the network, with `model.optimizer` built.
        replicas: devices that share a batch.
    """
    batches = config.batches
    places = batches.batch_size * batches.sequence_length // (replicas * batches.micro_batches)
    # A product in half precision leaves its own logits beside the float32 ones.
    bytes_of_logit = 4 * LOGIT_COPIES + (0 if config.learning.precision == "float32" else 2)
    evaluated = min(MAX_LOGITS, scoring.MAX_STREAMS * scoring.BLOCK_LENGTH * model.vocab_size)
    return Memory(
        weights=_bytes(model.variables),
        slots=_bytes(model.optimizer.variables),
        gradients=GRADIENT_COPIES * _bytes(model.trainable_variables),
        activations=places * model.activation_bytes_per_token(),
        logits=places * model.vocab_size * bytes_of_logit,
        evaluation=2 * 4 * evaluated,
    )


def _bytes(variables) -> int:
    return sum(
        math.prod(v.shape) * np.dtype(keras.backend.standardize_dtype(v.dtype)).itemsize for v in variables
    )


def flops_per_token(model: keras.Model) -> dict[str, int]:
    """Return the operations of one token in training, by part of the network.

    Only products of matrices count, two operations for each multiply-add. The backward pass has two products
    of the same size for each of the forward pass: one for the gradient of the matrix, one for that of its input.
    """
    return {part: 6 * count for part, count in model.multiply_adds_per_token().items()}


def flops_per_step(config: Config, model: keras.Model) -> int:
    """Return the operations of one optimizer step over all replicas; see `flops_per_token`."""
    tokens = config.batches.batch_size * config.batches.sequence_length
    return sum(flops_per_token(model).values()) * tokens
