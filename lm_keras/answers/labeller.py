"""What answers with labels share: examples go through the network in packed rows, and come back in order.

n predictions, C labels, R rows of a call, T positions of a row, K predictions of a row, D width of features.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.answers.answer import Answer
from lm_keras.data.example_rows import Example
from lm_keras.data.examples import TOO_LONG
from lm_keras.data.words import WordEncoder
from lm_keras.errors import InputError
from lm_keras.objectives.calibration import scaled
from lm_keras.sampling.continuation import unknown_parts
from lm_keras.sampling.generate import NOT_FINITE
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer

ROWS = 16
"""Rows that go through the network at once."""

SHORTEST_ROW = 128
"""Positions of a row, at least: short texts share one."""


class Labeller(Answer):
    """Predicts labels with one compiled function.

    Args:
        task: of the network, with labels.
        model, tokenizer: the network and the tokenizer that it was trained with.
        say: called with a line on texts that are too long.

    Attributes:
        tags_words: whether it predicts tags of words.
        usually_too_long: what is done with a long text where nothing else is said.
        names: the labels, in the order of the network's outputs.
        temperature: divides the logits of every prediction; see `lm_keras.objectives.calibration`.
    """

    tokens_generated = 0
    tags_words = False
    usually_too_long = "cut_end"

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        tokenizer: Tokenizer,
        say: Callable[[str], None] = lambda line: None,
    ):
        self._task, self._model, self._tokenizer, self._say = task, model, tokenizer, say
        self.names, self.temperature = task.labels.names, 1.0
        self._words = WordEncoder(tokenizer)
        self._read = self._longer = 0
        self._rows_of = tf.function(self._log_probabilities, autograph=False)

    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Refuse: labels are not text that goes on."""
        raise InputError(
            f"--task={self.task} predicts labels and generates no text; use scripts/predict.py, or"
            f" {self.in_python} in Python"
        )

    def sample(self, prompts: list[str], **settings):
        """Refuse, as `generate`."""
        return self.generate(prompts)

    def stream(self, prompt: str, **settings):
        """Refuse, as `generate`."""
        return self.generate([prompt])

    def fill(self, text: str, words: int, **settings):
        """Refuse, as `generate`."""
        return self.generate([text])

    def scale(self, temperature: float) -> None:
        """Divide the logits of every prediction from now on."""
        self.temperature = temperature

    def check_predicts(self) -> None:
        """Accept the network."""

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a text the tokenizer does not know."""
        return unknown_parts(self._tokenizer, prompt)

    def log_probabilities(
        self, examples: Sequence[Example], rows: int, too_long: str, names: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-probability of every label for each example, or for each word of each example.

        Args:
            examples: texts, all with words or all without.
            rows: R, at most.
            too_long: what is done with an example that has more tokens than `room`.
            names: of the examples, for messages; without any they are numbered.

        Returns:
            [n, C] float32, in the order of the examples, and [n] bool, which of them were read. An example in
            several windows has the normalized geometric mean of their probabilities.

        Raises:
            InputError: the network's output is not finite, or an example is too long where that is an error.
        """
        counts = [1 if example.words is None else len(example.words) for example in examples]
        summed = np.zeros([sum(counts), len(self.names)], np.float32)
        times = np.zeros(len(summed), np.int64)
        if not len(summed):
            return summed, times > 0
        lengths = [len(example.tokens) for example in examples]
        self._count_long(lengths, too_long, names)
        # Powers of two, so that there are few shapes, each of which is compiled.
        rows = min(rows, 1 << (len(examples) - 1).bit_length())
        length = self._row_length(max(lengths))
        for batch, numbers in self._task.batches(examples, rows, length, too_long):
            state = self._model.initial_state(len(numbers))
            values, there = self._rows_of(batch.inputs, state).numpy(), numbers >= 0  # [R, K, C], [R, K]
            np.add.at(summed, numbers[there], values[there])
            np.add.at(times, numbers[there], 1)
        if not np.isfinite(summed).all():
            raise InputError(NOT_FINITE)
        if times.max() > 1:
            summed = scaled(summed / np.maximum(times, 1)[:, None], 1.0)
        return summed if self.temperature == 1.0 else scaled(summed, self.temperature), times > 0

    def _log_probabilities(self, inputs: dict[str, tf.Tensor], state: Any) -> tf.Tensor:
        features, _ = self._model.forward(inputs, state)  # [R, K, D]
        return tf.nn.log_softmax(self._model.project(features))

    @property
    def room(self) -> int:
        """Return the tokens of an example that a row of training and evaluation holds, at most."""
        return self._task.sequence_length - self._task.frame.size

    def count_tokens(self, text: str | list[str]) -> int:
        """Return the tokens of a text, or of a list of words, before it is cut."""
        return len(self._example(text).tokens)

    def _example(self, text: str | list[str]) -> Example:
        """Return a text, or a list of words, as the network reads it."""
        raise NotImplementedError

    def _row_length(self, tokens: int) -> int:
        """Return T for examples of up to `tokens` tokens: a power of two, or that of training."""
        length = SHORTEST_ROW
        while length - self._task.frame.size < tokens:
            length *= 2
        return min(length, self._task.sequence_length)

    def _count_long(self, lengths: Sequence[int], too_long: str, names: Sequence[str]) -> None:
        """Count texts with more tokens than the network reads, or refuse them.

        Raises:
            InputError: there is one, and `too_long` is `error`.
        """
        longer = [number for number, length in enumerate(lengths, 1) if length > self.room]
        if longer and too_long == "error":
            raise InputError(
                f"{name_of(longer[0], names)} has {lengths[longer[0] - 1]:,} tokens, and the model reads"
                f" {self.room:,}; shorten it, or choose --too_long=cut_end, cut_start or windows"
            )
        self._read, self._longer = self._read + len(lengths), self._longer + len(longer)

    def tell_of_long(self, too_long: str) -> None:
        """Tell how many of the texts since the last time had more tokens than the network reads."""
        if self._longer:
            done = "read in windows" if too_long == "windows" else f"cut (--too_long={too_long})"
            longer = f"{self._longer:,} of {self._read:,} texts have more than {self.room:,} tokens"
            self._say(f"{longer} and were {done}")
        self._read = self._longer = 0


def name_of(number: int, names: Sequence[str]) -> str:
    """Return what a text is called in a message; `number` counts from 1 on."""
    return names[number - 1] if names else f"text {number:,}"


def check_too_long(too_long: str) -> None:
    """Raise InputError unless the name says what may be done with a long text."""
    if too_long not in TOO_LONG:
        raise InputError(f"too_long={too_long!r} is unknown; choose one of {', '.join(TOO_LONG)}")
