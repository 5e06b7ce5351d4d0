"""Networks that answer in conversations."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import keras

from lm_keras.answers.generator import Generator
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import template_of
from lm_keras.sampling.continuation import Continuation, GrowingContinuation
from lm_keras.sampling.generate import GENERATE_POSITIONS
from lm_keras.sampling.settings import settings_from
from lm_keras.sampling.uniforms import key_of
from lm_keras.text.tokenizer import Tokenizer


class Chat(Generator):
    """Answers in conversations."""

    task = "chat"

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        say: Callable[[str], None] = lambda line: None,
        **settings: Any,
    ):
        ended = copy.copy(tokenizer)
        ended.eod_id = tokenizer.special_tokens["<|im_end|>"]
        super().__init__(model, ended, say, **settings)

    def replies(self, conversations: Sequence[Sequence[Message]], **settings: Any) -> list[Continuation]:
        """Return the answer of the assistant to each conversation."""
        settings, template = settings_from(settings), template_of(self._tokenizer)
        prompts = [template.encode(one, self._tokenizer, True).ids.tolist() for one in conversations]
        rows = [
            GrowingContinuation(self._tokenizer, "", ids, settings, key_of(settings.seed, ids, 0))
            for ids in prompts
        ]
        for _ in self._decode(rows, settings, GENERATE_POSITIONS):
            pass
        return [row.continuation() for row in rows]
