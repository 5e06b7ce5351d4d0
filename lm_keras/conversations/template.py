"""Chat templates: a conversation becomes tokens, and it is known which of them an assistant has to learn.

c characters, n tokens.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lm_keras.conversations.child import Allowance, TemplateProcess
from lm_keras.conversations.messages import ASSISTANT, USER, Message
from lm_keras.conversations.rendered import Rendered, at_risk, chatml, located
from lm_keras.errors import InputError
from lm_keras.text.spelled import Special
from lm_keras.text.tokenizer import Tokenizer

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
    do. A template of others is rendered by jinja2 in a child process, which may take 2 s and write 1 MB for a
    conversation.

    Args:
        source: the template, in the jinja of Hugging Face.
        variables: what it may read beside the conversation, such as `bos_token`.

    Example:
        >>> template = ChatTemplate()
        >>> messages = [Message("user", "Hi"), Message("assistant", "Ho")]
        >>> template.render(messages)
        '<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHo<|im_end|>\\n'
        >>> ids, learnt = template.encode(messages, tokenizer)
        >>> tokenizer.decode(ids[learnt])  # and the token <|im_end|>
        'Ho'
    """

    def __init__(self, source: str = CHATML, variables: Mapping[str, Any] | None = None):
        self.source = source
        self._process = None if source == CHATML else TemplateProcess(source, variables or {})

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """Return a conversation as text.

        Args:
            messages: of the conversation.
            add_generation_prompt: whether the text ends with what stands before the assistant's next answer.

        Raises:
            InputError: the template refuses the conversation, or cannot be rendered.
        """
        if self._process is None:
            return chatml(messages, add_generation_prompt).text
        return self._process.render([message._asdict() for message in messages], add_generation_prompt)

    def encode(
        self, messages: Sequence[Message], tokenizer: Tokenizer, add_generation_prompt: bool = False
    ) -> Encoded:
        """Return a conversation in tokens. Nothing comes before the tokens of the template.

        Args:
            messages: of the conversation.
            tokenizer: of the model.
            add_generation_prompt: whether the tokens end with those before the assistant's next answer. Then
                `learnt` may be all False.

        Raises:
            InputError: the template refuses the conversation or cannot be rendered, or changes messages so
                that their characters cannot be told from its own.
        """
        names = [*tokenizer.special_tokens]
        rendered = self._rendered(messages, add_generation_prompt, names)
        specials = special_in(rendered, tokenizer.special_tokens)
        learnt = learnt_in(rendered, specials)
        cuts = (np.flatnonzero(np.diff(learnt)) + 1).tolist()
        ids, begins, ends = tokenizer.encode_around(rendered.text, specials, cuts)
        counts = np.concatenate([[0], np.cumsum(learnt)])  # [c + 1]
        return Encoded(ids, counts[ends] > counts[begins])

    def _rendered(
        self, messages: Sequence[Message], add_generation_prompt: bool, names: Sequence[str]
    ) -> Rendered:
        if self._process is None:
            return chatml(messages, add_generation_prompt)

        left = Allowance()

        def render(messages: Sequence[Message]) -> str:
            given = [message._asdict() for message in messages]
            return self._process.render(given, add_generation_prompt, left)

        text = render(messages)
        if found := located(text, render, messages, self._process.constants, names):
            return found
        learns = not add_generation_prompt and any(message.role == ASSISTANT for message in messages)
        if learns or any(at_risk(message.content, names).any() for message in messages):
            raise InputError(
                "the chat template changes the messages of this conversation, so that their characters cannot"
                " be told from its own; leave the conversation out"
            )
        nothing = np.zeros(len(text), bool)
        return Rendered(text, nothing, nothing)


def template_of(tokenizer: Tokenizer) -> ChatTemplate | None:
    """Return the chat template of a tokenizer, or None if it has none."""
    if tokenizer.chat_template is None:
        return None
    return ChatTemplate(tokenizer.chat_template, tokenizer.chat_variables)


def end_of_turn(tokenizer: Tokenizer) -> int | None:
    """Return the special token that the chat template of a tokenizer writes behind an answer, or None."""
    messages = [Message(USER, "a"), Message(ASSISTANT, "b")]
    ids, learnt = template_of(tokenizer).encode(messages, tokenizer)
    last = {*ids[learnt][-1:].tolist()} & {*tokenizer.special_tokens.values(), tokenizer.eod_id}
    return last.pop() if last else None


def special_in(rendered: Rendered, special_tokens: Mapping[str, int]) -> list[Special]:
    """Return the special tokens whose names the template has written, from left to right.

    Where several names begin, the longest counts.
    """
    if not special_tokens:
        return []
    names = sorted(special_tokens, key=len, reverse=True)
    # Of the messages' letters none takes part.
    written = "".join("\0" if given else letter for letter, given in zip(rendered.text, rendered.given))
    found = re.finditer("|".join(map(re.escape, names)), written)
    return [Special(*match.span(), special_tokens[match[0]]) for match in found]


def learnt_in(rendered: Rendered, specials: Sequence[Special]) -> np.ndarray:
    """Return [c] bool: what the assistant says, with the special token that ends it.

    That token comes next, behind white space at most.
    """
    learnt = rendered.answered.copy()
    for end in np.flatnonzero(learnt & ~np.append(learnt[1:], False)) + 1:
        following = next((special for special in specials if special.begin >= end), None)
        if following and not rendered.text[end : following.begin].strip():
            learnt[end : following.end] = True
    return learnt
