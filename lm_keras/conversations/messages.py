"""Messages: what a conversation consists of, and what is wrong with one."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lm_keras.errors import InputError, nearest

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"

ROLES = (SYSTEM, USER, ASSISTANT)
"""Who says a message."""

HARMLESS = {"tool_calls": (None, []), "function_call": (None,), "weight": (None, 1)}
"""Fields of a message that may change what it means, with the values that do not; others are refused. Any
other field is left out.
"""

LONGEST_NAME, MOST_NAMES = 40, 5
"""Of fields, in an error."""

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")

_KINDS = {
    dict: "an object", list: "a list", tuple: "a list", str: "a string", bool: "a boolean", int: "a number",
    float: "a number", type(None): "null",
}  # fmt: skip


class Message(NamedTuple):
    """One turn of a conversation.

    Attributes:
        role: who says it, one of `ROLES`.
        content: what is said.
    """

    role: str
    content: str


def read_messages(value: object, where: str = "messages") -> tuple[Message, ...]:
    """Return the messages of a conversation.

    A system message comes first or not at all: templates leave out any other one, or refuse it. Roles need
    not take turns; a template may ask for that.

    Args:
        value: a sequence of messages, each a `Message` or an object with `role` and `content`.
        where: what the value is called in messages, such as `the field 'messages'`.

    Raises:
        InputError: it is something else; the message has one line.

    Example:
        >>> read_messages([{"role": "user", "content": "Hello"}])
        (Message(role='user', content='Hello'),)
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(
            f"{where} is {_kind(value)}: expected a list of messages, such as "
            '[{"role": "user", "content": "Hello"}]'
        )
    if not value:
        raise InputError(f"{where} is empty: expected at least one message")
    return tuple(_message(one, f"{where}: message {n}", n) for n, one in enumerate(value, 1))


def _message(value: object, where: str, number: int) -> Message:
    if isinstance(value, Message):
        value = value._asdict()
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is {_kind(value)}: expected an object with 'role' and 'content'")
    for name in ("role", "content"):
        if name not in value:
            there = ", ".join([repr(key)[:LONGEST_NAME] for key in value][:MOST_NAMES]) or "nothing"
            raise InputError(
                f"{where} has no {name!r}, only {there}: expected an object with 'role' and 'content'"
            )
        if not isinstance(value[name], str):
            raise InputError(f"{where}: its {name!r} is {_kind(value[name])}: expected a string")
    role, content = value["role"], value["content"]
    if role not in ROLES:
        raise InputError(
            f"{where} has the role {role!r}{nearest(role, list(ROLES))}: expected {', '.join(ROLES)}"
        )
    if role == SYSTEM and number > 1:
        raise InputError(f"{where} is a system message: expected it as the first message only")
    if present := [name for name, without in HARMLESS.items() if value.get(name) not in without]:
        raise InputError(f"{where} has {present[0]!r}, which is not read here: leave it or the record out")
    if found := _NOT_TEXT.search(content):
        what = "NUL" if found[0] == "\0" else f"the lone surrogate U+{ord(found[0]):04X}"
        raise InputError(f"{where} has {what} at character {found.start()}: expected text")
    return Message(role, content)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")
