"""A conversation as text of which each character is known to be the template's or a message's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from lm_keras.conversations.messages import Message

TEMPLATE, CONTENT, ANSWER = range(3)
"""Where a character comes from: the template, a message, or a message of the assistant."""


class Rendered(NamedTuple):
    """A conversation as text.

    Attributes:
        text: n characters.
        origins: [n] uint8, `TEMPLATE`, `CONTENT` or `ANSWER` for each character.
    """

    text: str
    origins: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[tuple[str, int]]) -> "Rendered":
        """Return the text of some parts, each with its origin."""
        origins = [np.full(len(text), origin, np.uint8) for text, origin in parts]
        return cls("".join(text for text, _ in parts), np.concatenate(origins or [np.zeros(0, np.uint8)]))


def chatml(messages: Sequence["Message"], add_generation_prompt: bool) -> Rendered:
    """Return what `lm_keras.conversations.template.CHATML` makes of messages, without jinja2."""
    parts = []
    for message in messages:
        origin = ANSWER if message.role == "assistant" else CONTENT
        parts += [(f"<|im_start|>{message.role}\n", TEMPLATE), (message.content, origin)]
        parts += [("<|im_end|>\n", TEMPLATE)]
    if add_generation_prompt:
        parts.append(("<|im_start|>assistant\n", TEMPLATE))
    return Rendered.of(parts)
