"""Conversations in records: `{"messages": [{"role": ..., "content": ...}, ...]}`."""

from collections.abc import Callable

from lm_keras.conversations.messages import ASSISTANT, read_messages
from lm_keras.corpora.decoding import NOT_TEXT, Counts
from lm_keras.corpora.documents import Document
from lm_keras.corpora.pairs import REMEDY
from lm_keras.errors import InputError, nearest

MESSAGES = "messages"
"""The field of a record that holds a conversation."""


def conversation_of(
    place: str,
    record: dict,
    counts: Counts,
    clean: Callable[[str, list[str], Counts], list[str] | None],
) -> Document | None:
    """Return the document of a conversation.

    Args:
        place: where it is from.
        record: an object with `messages`.
        counts: of what was changed or left out.
        clean: as `RecordFiles._cleaned`.

    Returns:
        A document; or None for one that is counted already.

    Raises:
        InputError: there are no such messages, or the assistant says nothing in them.
    """
    if MESSAGES not in record:
        raise InputError(
            f"no field {MESSAGES!r}{nearest(MESSAGES, list(record))}: expected one with a list of messages;"
            f" {REMEDY}"
        )
    value = record[MESSAGES]
    for message in value if isinstance(value, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str) and NOT_TEXT.search(content):
            cleaned = clean(place, [content], counts)
            if cleaned is None:
                return None
            (message["content"],) = cleaned
    try:
        messages = read_messages(value, f"the field {MESSAGES!r}")
    except InputError as error:
        raise InputError(f"{error}; {REMEDY}") from None
    if not any(role == ASSISTANT and content.strip() for role, content in messages):
        raise InputError(f"the assistant says nothing in it, so nothing is learnt of it; {REMEDY}")
    return Document.from_messages(place, messages)
