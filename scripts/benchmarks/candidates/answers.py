"""Answers to a question by a run that holds conversations, in our own sampler."""

import time

import lm_keras
from lm_keras.answers.answer import NO_CONVERSATIONS
from lm_keras.answers.chat import Chat
from lm_keras.conversations.messages import Message
from lm_keras.errors import InputError


class Candidate:
    """A run as `lm_keras.load` gives it.

    Args:
        run_dir: its folder.

    Raises:
        InputError: it holds no conversations.
    """

    jit, weights = False, "float32"

    def __init__(self, run_dir: str):
        self._lm = lm_keras.load(run_dir, jit=self.jit, weights=self.weights)
        if not isinstance(self._lm.answer, Chat):
            raise InputError(NO_CONVERSATIONS)

    def answer(self, question: str, tokens: int) -> tuple[int, float]:
        """Return how many tokens a greedy answer of at most `tokens` has, and the seconds that it took."""
        began = time.perf_counter()
        (reply,) = self._lm.answer.replies(
            [[Message("user", question)]], temperature=0, max_new_tokens=tokens
        )
        return len(reply.token_ids), time.perf_counter() - began


class Compiled(Candidate):
    """The same with `--jit=on`."""

    jit = True


class Int8(Candidate):
    """The same with 8-bit weights."""

    weights = "int8"
