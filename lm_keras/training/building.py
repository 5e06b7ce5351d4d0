"""What a run builds from its settings: the network with its optimizer, the schedules and the token noise."""

import random

import keras
import numpy as np

from lm_keras import callbacks, optimizers, schedules
from lm_keras.callbacks.schedules import ScheduleCallback
from lm_keras.config import Config, LearningConfig
from lm_keras.data.preparation import PreparedData
from lm_keras.errors import InputError
from lm_keras.layers import TokenNoise
from lm_keras.models import FAMILIES


def network(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network with its optimizer; within the scope of a strategy they belong to it.

    Args:
        config: the settings.
        vocab_size: tokens that it reads.
        num_outputs: classes of its head; None for the vocabulary.
    """
    # Keras draws the seeds of initial weights from it; `train` gives it back its state.
    random.seed(config.batches.seed)
    model = FAMILIES[config.model.model](config, vocab_size, num_outputs)
    freeze(model, config.learning.freeze)
    head, variables = model.head_weights, model.trainable_variables
    if config.learning.head_learning_rate is not None and not head:
        raise InputError(
            f"--head_learning_rate={config.learning.head_learning_rate} has no meaning here: "
            "the embedding is the output matrix, and the network has no head beside it; leave it out, or "
            "take --tie_embeddings=false"
        )
    model.optimizer = optimizers.build(config.learning, variables, head)
    return model


def freeze(model: keras.Model, part: str) -> None:
    """Keep some weights of a network as they are, whatever trains it.

    Args:
        model: the network.
        part: `none`, `embedding`, or `body`, all weights but those of the head.

    Raises:
        InputError: nothing is left to train.
    """
    if part == "embedding":
        model.embedding.trainable = False
    elif part == "body":
        head = {id(weight) for weight in model.head_weights}
        for weight in model.trainable_variables:
            weight.trainable = id(weight) in head
    if not model.trainable_variables:
        raise InputError(
            f"--freeze={part} leaves nothing to train: the embedding is the output matrix, and the network "
            "has no head beside it; leave it out, or take --tie_embeddings=false"
        )


def schedule_callbacks(config: Config, total_steps: int) -> list[ScheduleCallback]:
    """Return what sets the rates of each step."""
    learning = config.learning
    curve = schedules.build(learning.learning_rate_schedule, total_steps, learning.warmup_steps)
    listed: list[ScheduleCallback] = [callbacks.LearningRateSchedule(learning.learning_rate, curve)]
    if config.model.dropout:
        curve = schedules.build(learning.dropout_schedule, total_steps)
        listed.append(callbacks.DropoutSchedule(config.model.dropout, curve))
    if learning.token_noise:
        curve = schedules.build(learning.token_noise_schedule, total_steps)
        listed.append(callbacks.TokenNoiseSchedule(learning.token_noise, curve))
    return listed


def token_noise(learning: LearningConfig, data: PreparedData) -> TokenNoise:
    """Return what replaces tokens of the input while the network trains."""
    vocab_size = data.tokenizer.vocab_size
    weights = np.arange(vocab_size) == data.tokenizer.mask_id
    if learning.token_noise_kind == "unigram":
        weights = data.splits["train"].frequencies(vocab_size)
    return TokenNoise(learning.token_noise, weights, dtype="float32")
