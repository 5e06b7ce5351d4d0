"""Chat templates: a conversation becomes tokens, and it is known which of them an assistant has to learn.

n tokens.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lm_keras.conversations.rendered import ANSWER, Rendered, chatml
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lm_keras.conversations.messages import Message

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of models that are trained here, in the jinja of Hugging Face."""

END_OF_TURN = "<|im_end|>"
"""The token that ends a turn in `CHATML`."""


class Encoded(NamedTuple):
    """A conversation in tokens.

    Attributes:
        ids: [n] int32.
        learnt: [n] bool, whether a token belongs to what the assistant says, or ends its turn.
    """

    ids: np.ndarray
    learnt: np.ndarray


class ChatTemplate:
    """Turns conversations into tokens, as the model of the template was trained to read them.

    Names of special tokens that the template writes become those tokens. The same letters in a message never
    do.

    Args:
        source: the template, in the jinja of Hugging Face.

    Example:
        >>> template = ChatTemplate()
        >>> messages = [Message("user", "Hi"), Message("assistant", "Ho")]
        >>> template.render(messages).text
        '<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHo<|im_end|>\\n'
        >>> ids, learnt = template.encode(messages, tokenizer)
        >>> tokenizer.decode(ids[learnt])  # and the token <|im_end|>
        'Ho'
    """

    def __init__(self, source: str = CHATML):
        self.source = source

    def render(self, messages: Sequence["Message"], add_generation_prompt: bool = False) -> Rendered:
        """Return a conversation as text.

        Args:
            messages: of the conversation.
            add_generation_prompt: whether the text ends with what stands before the assistant's next answer.
        """
        if self.source == CHATML:
            return chatml(messages, add_generation_prompt)
        raise InputError("only the built-in chat template can be rendered")

    def encode(
        self, messages: Sequence["Message"], tokenizer: Tokenizer, add_generation_prompt: bool = False
    ) -> Encoded:
        """Return a conversation in tokens. Nothing comes before the tokens of the template.

        Args:
            messages: of the conversation.
            tokenizer: of the model.
            add_generation_prompt: whether the tokens end with those before the assistant's next answer.
        """
        rendered = self.render(messages, add_generation_prompt)
        specials = special_in(rendered, tokenizer.special_tokens)
        return _encoded(rendered.text, specials, learnt_in(rendered, specials), tokenizer)


class Special(NamedTuple):
    """A special token in a text: its characters and its id."""

    begin: int
    end: int
    token_id: int


def special_in(rendered: Rendered, special_tokens: dict[str, int]) -> list[Special]:
    """Return the special tokens whose names the template has written, from left to right.

    Where several names begin, the longest counts.
    """
    if not special_tokens:
        return []
    names = sorted(special_tokens, key=len, reverse=True)
    # Of the messages' letters none takes part.
    written = "".join("\0" if origin else letter for letter, origin in zip(*rendered))
    found = re.finditer("|".join(map(re.escape, names)), written)
    return [Special(*match.span(), special_tokens[match[0]]) for match in found]


def learnt_in(rendered: Rendered, specials: list[Special]) -> np.ndarray:
    """Return [characters] bool: what the assistant says, with the special token that ends it.

    That token comes next, behind white space at most.
    """
    learnt = rendered.origins == ANSWER
    ends = np.flatnonzero(learnt & ~np.append(learnt[1:], False)) + 1
    for end in ends:
        following = next((special for special in specials if special.begin >= end), None)
        if following and not rendered.text[end : following.begin].strip():
            learnt[end : following.end] = True
    return learnt


def _encoded(text: str, specials: list[Special], learnt: np.ndarray, tokenizer: Tokenizer) -> Encoded:
    """Return the tokens of a text that is cut at special tokens, and where it begins or ceases to be learnt.

    Args:
        text: of c characters.
        specials: from left to right.
        learnt: [c] bool.
        tokenizer: of the model.
    """
    ids, marks, place = [], [], 0

    def add(begin: int, end: int) -> None:
        cuts = [begin, *(np.flatnonzero(np.diff(learnt[begin:end])) + 1 + begin).tolist(), end]
        for first, last in zip(cuts, cuts[1:]):
            part = tokenizer.encode_inside(text[first:last]) if first < last else []
            ids.extend(part)
            marks.extend([bool(learnt[first])] * len(part))

    for special in specials:
        add(place, special.begin)
        ids.append(special.token_id)
        marks.append(bool(learnt[special.begin]))
        place = special.end
    add(place, len(text))
    return Encoded(np.array(ids, np.int32), np.array(marks, bool))
