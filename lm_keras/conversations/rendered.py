"""A conversation as text of which each character is known to be the template's or a message's.

n characters.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lm_keras.conversations.child import Ended
from lm_keras.conversations.messages import ASSISTANT, Message
from lm_keras.errors import InputError

FIRST_TWIN, LAST_TWIN = 0xF0000, 0x10FFFF
"""Characters for private use, which stand for those of messages."""

OTHER, EVEN, ODD = range(1, 4)
"""Whose a character is: no assistant's, or of every second message of the assistant."""


class Rendered(NamedTuple):
    """A conversation as text.

    Attributes:
        text: n characters.
        given: [n] bool, whether a character is a message's, not the template's.
        answered: [n] bool, whether a character belongs to what the assistant says.
    """

    text: str
    given: np.ndarray
    answered: np.ndarray


def chatml(messages: Sequence[Message], add_generation_prompt: bool) -> Rendered:
    """Return what `lm_keras.conversations.template.CHATML` makes of messages, without jinja2."""
    parts = []
    for role, content in messages:
        kind = EVEN if role == ASSISTANT else OTHER
        parts += [(f"<|im_start|>{role}\n", 0), (content, kind), ("<|im_end|>\n", 0)]
    if add_generation_prompt:
        parts.append((f"<|im_start|>{ASSISTANT}\n", 0))
    kinds = np.repeat([kind for _, kind in parts], [len(text) for text, _ in parts])
    return Rendered("".join(text for text, _ in parts), kinds > 0, kinds == EVEN)


def located(
    text: str,
    render: Callable[[list[Message]], str],
    messages: Sequence[Message],
    constants: Sequence[str],
    names: Sequence[str],
) -> Rendered | None:
    """Return a rendered conversation in which the characters of messages are known, or None.

    The template renders the conversation once more, with other characters, twins, in place of those of the
    messages. If the text is the same but for them, they tell where each character comes from. A template that
    trims, finds or divides text in messages makes another text of twins: then white space, and at last the
    strings in the template, keep their characters, but never the letters of a special token.

    Args:
        text: the conversation, rendered.
        render: the template.
        messages: of the conversation.
        constants: the strings in the template.
        names: of special tokens.

    Example: the template writes each message between < and >, without spaces around it. Of " no " it makes
        "<no>", with twins of all characters "<␣no␣>" (where n, o and the spaces are twins), and with twins of
        letters "<no>" again.
    """
    spaced = [name for name in names if any(map(str.isspace, name))]

    def letters(content: str) -> np.ndarray:
        found = np.array([not character.isspace() for character in content], bool)
        return found | at_risk(content, spaced)

    def others(content: str) -> np.ndarray:
        return (letters(content) & ~within(content, constants)) | at_risk(content, names)

    for chosen in (lambda content: np.ones(len(content), bool), letters, others):
        twins = Twins()
        try:
            found = render([twins.message(message, chosen(message.content)) for message in messages])
        except Ended:
            raise
        except InputError:  # The template says so of what only the twins make of the conversation.
            continue
        if twins.back(found) == text:
            return twins.rendered(text, found)
    return None


class Twins:
    """Characters that stand for those of messages, and tell whose they are."""

    def __init__(self):
        self._twins: dict[tuple[int, str], str] = {}
        self._characters: dict[str, tuple[int, str]] = {}
        self._answers = 0

    def message(self, message: Message, chosen: np.ndarray) -> Message:
        """Return a message in which twins stand for the chosen characters, [n] bool."""
        kind = OTHER
        if message.role == ASSISTANT:
            kind = (EVEN, ODD)[self._answers % 2]
            self._answers += bool(message.content.strip())
        content = (
            self._twin(kind, character) if change or ord(character) >= FIRST_TWIN else character
            for character, change in zip(message.content, chosen)
        )
        return Message(message.role, "".join(content))

    def _twin(self, kind: int, character: str) -> str:
        if (kind, character) not in self._twins:
            code = FIRST_TWIN + len(self._twins)
            if code > LAST_TWIN:
                raise InputError("a conversation has too many different characters for its chat template")
            self._twins[kind, character] = chr(code)
            self._characters[chr(code)] = kind, character
        return self._twins[kind, character]

    def back(self, text: str) -> str:
        """Return a text with the characters in place of their twins."""
        return "".join(self._characters.get(character, (0, character))[1] for character in text)

    def rendered(self, text: str, found: str) -> Rendered:
        """Return a conversation, given with twins, too."""
        kinds = np.array([self._characters.get(character, (0,))[0] for character in found], np.uint8)
        answered = np.isin(kinds, (EVEN, ODD))
        places = np.flatnonzero(kinds)
        for begin, end in zip(places, places[1:]):  # What stands within an answer belongs to it.
            if kinds[begin] == kinds[end] != OTHER:
                answered[begin:end] = True
        return Rendered(text, kinds > 0, answered)


def within(content: str, strings: Sequence[str]) -> np.ndarray:
    """Return [n] bool: which characters of a text belong to one of some strings in it.

    Example:
        >>> within("abcab", ["ab"]).tolist()
        [True, True, False, True, True]
    """
    found = np.zeros(len(content), bool)
    for string in filter(None, strings):
        place = content.find(string)
        while place >= 0:
            found[place : place + len(string)] = True
            place = content.find(string, place + 1)
    return found


def at_risk(content: str, names: Sequence[str]) -> np.ndarray:
    """Return [n] bool: which characters of a text belong to a name in it, or to a part of one at its border.

    Example:
        >>> at_risk("d>a<end>b<", ["<end>"]).tolist()
        [True, True, False, True, True, True, True, True, False, True]
    """
    found = within(content, names)
    for name in names:
        for count in range(1, min(len(name), len(content) + 1)):
            if content.endswith(name[:count]):
                found[len(content) - count :] = True
            if content.startswith(name[-count:]):
                found[:count] = True
    return found
