"""Our own training step and sampler, as a candidate."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks.candidates.profile import Recording
from benchmarks.trainers import trainer_of
from lm_keras.answers import answer_for
from lm_keras.callbacks import LearningRateSchedule
from lm_keras.callbacks.base import StepCallback
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.models.costs import Product
from lm_keras.sampling.int8 import int8_of
from lm_keras.sampling.lite import interpreter_of, matrix_specs
from lm_keras.text.char import NUM_SPECIAL, CharTokenizer
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.training import estimates
from lm_keras.training.timing import NEVER, STEPS

PRODUCTS_AT_ONCE = 8
"""Equal products that are timed in one call, each with a first matrix of its own; fewer where they are large.
"""

FLOPS_AT_ONCE = 4e9

FIRST_CHARACTER = 0x20000
"""The first of some 42,000 characters that stand for tokens when sampling is measured."""

TINY = 2.0**-24
"""By which a product depends on the one before without being changed by it."""

READ_BYTES, READS = 2**29, 3
"""What is read to measure the speed of memory, and how often."""


class OurCandidate:
    """The step of a run, in the trainer's own loop with nothing but a schedule around it.

    Attributes:
        data_wait: seconds of a step in which it waited for its batch, when last trained.
        int8: whether text is sampled with 8-bit weights.
    """

    int8 = False

    def __init__(self, config: Config):
        self.trainer = trainer_of(config)
        self.trainer.total_steps = STEPS
        self._config = config
        self.parameters = sum(math.prod(v.shape) for v in self.trainer.model.trainable_variables)
        self.flops = estimates.flops(self.trainer.model, self.trainer.task, config).step
        self._matrices: list[tf.Tensor] = []
        self._transposed: list[tf.Tensor] = []
        self._products_of: dict[int, dict[str, Callable]] = {}

    def train(self, seconds: float) -> tuple[int, float]:
        """Train until this number of seconds has passed since the end of the first call, which is not
        counted.
        """
        clock = _StepClock(seconds)
        rate = LearningRateSchedule(self._config.learning.learning_rate, lambda step: 1.0)
        self.trainer.train([rate, clock], NEVER, self._config.running.log_every)
        self.data_wait = statistics.median(clock.waits)
        return clock.last[0] - clock.first[0], clock.last[1] - clock.first[1]

    def profile(self, seconds: float) -> dict[str, float]:
        """Train for this number of seconds, and return the share of them that each kind of operation takes,
        the largest first.
        """
        with Recording() as recording:
            self.train(seconds)
        whole = sum(recording.seconds.values())
        return {
            kind: part / whole for kind, part in sorted(recording.seconds.items(), key=lambda item: -item[1])
        }

    def products(self, seconds: float) -> dict[str, list[float]]:
        """Measure the products of a step alone, each for this number of seconds.

        Returns:
            For each different product, by its shape in words: how often a step has it, its FLOPs, and the
            seconds that one takes at its best.
        """
        batches, model = self._config.batches, self.trainer.model
        rows = batches.batch_size // self.trainer.strategy.num_replicas_in_sync // batches.micro_batches
        wanted: dict[Product, int] = {}
        task, length = self.trainer.task, batches.sequence_length
        for forward in model.products(rows, task.row_length(length), task.predictions(length)).values():
            for product in forward:
                for each in [product, *product.backward()]:
                    one = each._replace(times=1)
                    wanted[one] = wanted.get(one, 0) + each.times
        times = batches.batch_size // rows
        return {
            _named(p): [count * times, p.flops, self._seconds_of(p, seconds)] for p, count in wanted.items()
        }

    def _seconds_of(self, product: Product, seconds: float) -> float:
        dtype = self.trainer.model.compute_dtype
        firsts = [
            tf.cast(tf.random.stateless_uniform([product.batch, product.m, product.k], [1, k]), dtype)
            for k in range(max(1, min(PRODUCTS_AT_ONCE, round(FLOPS_AT_ONCE / product.flops))))
        ]
        second = tf.cast(tf.random.stateless_uniform([product.batch, product.k, product.n], [2, 3]), dtype)
        if product.batch == 1:
            firsts, second = [first[0] for first in firsts], second[0]

        @tf.function
        def all_of_them(firsts, second):
            corners = []
            for first in firsts:
                with tf.control_dependencies(corners):  # One after the other, as in the step.
                    corners.append(tf.reshape(tf.matmul(first, second), [-1])[0])
            return tf.add_n(corners)  # What nobody asks for would not be computed.

        all_of_them(firsts, second).numpy()
        best, began = math.inf, time.perf_counter()
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            all_of_them(firsts, second).numpy()
            best = min(best, (time.perf_counter() - start) / len(firsts))
        return best

    def sample(self, rows: int, prompt: int, tokens: int) -> float:
        """Return the seconds that `rows` rows of `tokens` new tokens take after a prompt, as text and without
        an end before.
        """
        if not hasattr(self, "_sampler"):
            self._tokenizer = _characters(self.trainer.model.vocab_size)
            jit = self._config.running.jit == "on"
            self._int8 = int8_of(self.trainer.model, "int8" if self.int8 else "float32")
            self._sampler = answer_for(
                self.trainer.task.name, self.trainer.model, self._tokenizer, jit=jit, int8=self._int8
            )
        # The beginning of a document is a token of the prompt, too.
        text = chr(FIRST_CHARACTER) * max(1, prompt - 1)
        settings = {"max_new_tokens": tokens, "seed": 1, "logit_bias": {self._tokenizer.eod_id: -1000.0}}
        before, began = self._sampler.tokens_generated, time.perf_counter()
        self._sampler.generate([text] * rows, **settings)
        elapsed = time.perf_counter() - began
        if self._sampler.tokens_generated - before != rows * tokens:
            raise InputError("a row ended early, so that its speed means nothing")
        return elapsed

    def products_of_a_token(self, rows: int) -> dict[str, float]:
        """Return the seconds, at best of a few times, that the matrix products of a token of `rows` rows
        take alone: `products_alone` and `compiled_products`.

        Each has a matrix of its own, which it reads from memory as the sampler's does, and waits for the one
        before; those of attention are left out. Once as TensorFlow carries them out, operation by operation,
        and once all in one program of XLA's with transposed matrices.
        """
        if rows not in self._products_of:
            dtype, parts = self.trainer.model.compute_dtype, self.trainer.model.products(rows, 1).values()
            products = [product for part in parts for product in part if product.batch == 1]
            firsts = {p.k: tf.cast(tf.random.stateless_uniform([rows, p.k], [1, 2]), dtype) for p in products}
            if not self._matrices:
                self._matrices = [
                    tf.cast(tf.random.stateless_uniform([p.k, p.n], [3, k]), dtype)
                    for k, p in enumerate(products)
                ]
                self._transposed = [tf.transpose(matrix) for matrix in self._matrices]

            def all_of_them(matrices, transposed):
                corner = tf.zeros([], dtype)
                for matrix in matrices:
                    first = firsts[matrix.shape[1 if transposed else 0]] + corner
                    corner = tf.matmul(first, matrix, transpose_b=transposed)[0, 0] * TINY
                return corner

            plain, compiled = (
                tf.function(all_of_them, autograph=False, jit_compile=jit) for jit in (False, True)
            )
            self._products_of[rows] = {
                "products_alone": lambda: plain(self._matrices, False).numpy(),
                "compiled_products": lambda: compiled(self._transposed, True).numpy(),
            }
        return {name: _best(compute) for name, compute in self._products_of[rows].items()}

    @property
    def weight_bytes(self) -> int:
        """Return the size of all weights in the number format of the products."""
        return self.parameters * tf.as_dtype(self.trainer.model.compute_dtype).size

    def bytes_per_second(self) -> tuple[float, float]:
        """Return how fast memory is read by all cores and by one, at best of a few times: more numbers than
        any cache holds.

        All cores add them, as TensorFlow does; one finds the largest, as numpy does, which has one thread for
        that.
        """
        if not hasattr(self, "_numbers"):
            self._numbers = tf.random.stateless_uniform([READ_BYTES // 4], [1, 2])
            self._sum = tf.function(tf.reduce_sum, autograph=False)
        there = np.asarray(self._numbers)  # The same memory on a CPU; else that of the host.
        return READ_BYTES / _best(lambda: self._sum(self._numbers).numpy()), READ_BYTES / _best(there.max)


def without_jit(config: Config) -> OurCandidate:
    """Return our own step with nothing compiled by XLA that `--jit` decides on."""
    return OurCandidate(dataclasses.replace(config, running=dataclasses.replace(config.running, jit="off")))


class CompiledInBfloat16(OurCandidate):
    """The same with products in bfloat16, and a token's work compiled."""

    def __init__(self, config: Config):
        learning = dataclasses.replace(config.learning, precision="mixed_bfloat16")
        running = dataclasses.replace(config.running, jit="on")
        super().__init__(dataclasses.replace(config, learning=learning, running=running))


class Int8(OurCandidate):
    """The same with 8-bit weights; what is not a product of weights is float32."""

    int8 = True

    def __init__(self, config: Config):
        learning = dataclasses.replace(config.learning, precision="float32")
        super().__init__(dataclasses.replace(config, learning=learning))

    def products_of_a_token(self, rows: int) -> dict[str, float]:
        """Return the seconds that the products of a token take with 8-bit weights, in one program."""
        if rows not in self._products_of:
            specs, constants = matrix_specs(self._int8)
            widest = max(spec.shape[1] for spec in specs)

            def all_of_them(first, matrices):
                corner = tf.zeros([])
                for matrix in matrices:
                    product = tf.matmul(first[:, : matrix.shape[1]] + corner, matrix, transpose_b=True)
                    corner = tf.reduce_sum(product[:, :1]) * TINY
                return corner

            first = tf.TensorSpec([rows, widest], tf.float32, "first")
            program = interpreter_of(all_of_them, [first, specs], constants)
            self._products_of[rows] = {"compiled_products": program.invoke}
        return super().products_of_a_token(rows)


def _best(compute: Callable[[], object]) -> float:
    """Return the seconds of a computation, at best of a few times after the first one."""
    compute()
    times = []
    for _ in range(READS):
        began = time.perf_counter()
        compute()
        times.append(time.perf_counter() - began)
    return min(times)


def _named(product: Product) -> str:
    batch = f"{product.batch} x " if product.batch > 1 else ""
    return f"{batch}[{product.m}, {product.k}] x [{product.k}, {product.n}]"


def _characters(vocab_size: int) -> Tokenizer:
    """Return a tokenizer of that size, every token but its special ones a character."""
    text = "".join(map(chr, range(FIRST_CHARACTER, FIRST_CHARACTER + vocab_size - NUM_SPECIAL)))
    return CharTokenizer(text, normalization="none")


class _StepClock(StepCallback):
    """Notes step and time at the end of the first and of the last call, and waits; stops after this number of
    seconds.
    """

    def __init__(self, seconds: float):
        super().__init__()
        self._seconds, self.first, self.waits = seconds, None, []

    def on_train_batch_end(self, batch, logs=None):
        self.waits.append(logs.get("data_wait", 0.0))
        self.last = (self.step(logs), time.perf_counter())
        self.first = self.first or self.last
        if self.last[1] - self.first[1] >= self._seconds:
            self.model.stop_training = True
