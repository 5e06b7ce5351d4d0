"""Our training step on pairs, as a candidate: packed rows of a real text."""

import math
import time

from benchmarks.candidates.labels import prepared
from benchmarks.candidates.ours import _StepClock
from lm_keras.callbacks import LearningRateSchedule
from lm_keras.config import Config
from lm_keras.tasks import task_of
from lm_keras.training import distribution
from lm_keras.training.building import network
from lm_keras.training.timing import NEVER, STEPS
from lm_keras.training.trainer import Learner, Trainer


class Candidate:
    """The step of a run, in the trainer's own loop with nothing but a constant rate around it."""

    def __init__(self, config: Config):
        data, devices = prepared(config), distribution.set_up(config)
        task = task_of(config, data.tokenizer.vocab_size, data.tokenizer)
        with devices.strategy.scope():
            model = network(config, task.network_vocab_size, task.outputs)
        self._rate, store = config.learning.learning_rate, data.splits["train"]
        self._trainer = Trainer(Learner(model, task), devices, config, store, STEPS, None)
        plan = task.plan(store)
        self.targets_per_step = plan.targets * config.batches.batch_size / plan.count
        self.parameters = sum(math.prod(v.shape) for v in model.trainable_variables)

    def train(self, seconds: float) -> tuple[float, float, float]:
        """Train for this number of seconds after a first call; return target tokens, the seconds, and the
        seconds of the processor.
        """
        clock = _CPUClock(seconds)
        rate = LearningRateSchedule(self._rate, lambda step: 1.0)
        self._trainer.train([rate, clock], NEVER, self._trainer.config.running.log_every)
        steps, elapsed = clock.last[0] - clock.first[0], clock.last[1] - clock.first[1]
        return steps * self.targets_per_step, elapsed, clock.last_cpu - clock.first_cpu


class _CPUClock(_StepClock):
    """Also notes the time of the processor."""

    def __init__(self, seconds: float):
        super().__init__(seconds)
        self.first_cpu = self.last_cpu = None

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.last_cpu = time.process_time()
        self.first_cpu = self.last_cpu if self.first_cpu is None else self.first_cpu
