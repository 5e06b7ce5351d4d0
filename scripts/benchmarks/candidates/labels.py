"""Our training step on examples with labels, as a candidate: packed rows of a real text."""

import math

from benchmarks.candidates.ours import _StepClock
from lm_keras.callbacks import LearningRateSchedule
from lm_keras.config import Config
from lm_keras.data.preparation import PreparedData, prepare
from lm_keras.tasks import TASKS, task_of
from lm_keras.training import distribution
from lm_keras.training.building import network
from lm_keras.training.timing import NEVER, STEPS
from lm_keras.training.trainer import Learner, Trainer


def prepared(config: Config) -> PreparedData:
    """Read the text of a run with labels."""
    return prepare(config.data, needs_mask=config.needs_mask, fields=TASKS[config.task].fields)


class Candidate:
    """The step of a run, in the trainer's own loop with nothing but a constant rate around it."""

    def __init__(self, config: Config):
        data, devices = prepared(config), distribution.set_up(config)
        task = task_of(config, data.tokenizer.vocab_size, data.tokenizer, data.labels)
        with devices.strategy.scope():
            model = network(config, task.network_vocab_size, task.outputs)
        self._rate, store = config.learning.learning_rate, data.splits["train"]
        self._trainer = Trainer(Learner(model, task), devices, config, store, STEPS, None)
        plan = task.plan(store)
        self.tokens_per_step = plan.text_tokens * config.batches.batch_size / plan.count
        self.parameters = sum(math.prod(v.shape) for v in model.trainable_variables)

    def train(self, seconds: float) -> tuple[float, float]:
        """Train for this number of seconds after a first call; return tokens of the text, and the seconds."""
        clock = _StepClock(seconds)
        rate = LearningRateSchedule(self._rate, lambda step: 1.0)
        self._trainer.train([rate, clock], NEVER, self._trainer.config.running.log_every)
        steps, elapsed = clock.last[0] - clock.first[0], clock.last[1] - clock.first[1]
        return steps * self.tokens_per_step, elapsed
