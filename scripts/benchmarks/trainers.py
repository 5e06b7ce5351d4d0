"""A trainer with random tokens, for measurements of the step alone."""

from lm_keras import optimizers
from lm_keras.callbacks import LearningRateSchedule
from lm_keras.config import Config
from lm_keras.models import FAMILIES
from lm_keras.tasks import task_of
from lm_keras.training import distribution
from lm_keras.training.known_text import random_store
from lm_keras.training.timing import NEVER
from lm_keras.training.trainer import Learner, Trainer

STEPS = 3
"""Steps of `train`, and of which the random text has enough for one more."""


def trainer_of(config: Config) -> Trainer:
    """Build everything that a step needs, with random tokens and in this process."""
    vocab_size, batches = config.data.vocab_size, config.batches
    task, devices = task_of(config, vocab_size), distribution.set_up(config)
    with devices.strategy.scope():
        model = FAMILIES[config.model.model](config, task.network_vocab_size)
        model.optimizer = optimizers.build(config.learning, model.trainable_variables)
    store = random_store((STEPS + 1) * batches.batch_size * batches.sequence_length, vocab_size)
    return Trainer(Learner(model, task), devices, config, store, STEPS, None)


def train(trainer: Trainer) -> None:
    """Carry out some steps at a learning rate of 0, one a call."""
    trainer.train([LearningRateSchedule(0.0, lambda step: 1.0)], NEVER, 1)
