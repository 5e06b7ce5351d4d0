"""From conversations to tokens: those that a network reads, and those that it learns to say.

n tokens of a conversation.
"""

import numpy as np

from lm_keras.conversations.template import CHATML, Encoded, end_of_turn, template_of
from lm_keras.corpora.documents import Document
from lm_keras.data.columns import Column
from lm_keras.data.labels import NO_WORD
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
"""The special tokens of `CHATML`, before and behind a turn."""


def with_template(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that has a chat template: this one, or a copy with `CHATML` and its tokens.

    Raises:
        InputError: its own template writes no special token behind an answer.
    """
    if tokenizer.chat_template is None:
        tokenizer = tokenizer.with_special_tokens(CHATML_TOKENS).with_chat_template(CHATML)
    if end_of_turn(tokenizer) is None:
        raise InputError(
            "the chat template of the tokenizer writes no special token behind an answer, so that no answer"
            " would end; take another tokenizer, or another template"
        )
    return tokenizer


class ConversationEncoder:
    """Turns the conversations of documents into tokens.

    Args:
        tokenizer: makes the tokens, with its chat template.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._template = tokenizer, template_of(tokenizer)

    def __call__(self, document: Document) -> Encoded:
        """Return the tokens of a conversation up to the last one that is learnt.

        Raises:
            InputError: the template refuses the conversation, or nothing of it is learnt.
        """
        try:
            ids, learnt = self._template.encode(document.messages, self._tokenizer)
        except InputError as error:
            raise InputError(f"{document.source}: {error}") from None
        if not learnt[1:].any():
            raise InputError(f"{document.source}: no token of what the assistant says is learnt")
        size = int(np.flatnonzero(learnt)[-1]) + 1
        return Encoded(ids[:size], learnt[:size])


def next_learnt(ids: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """Return for each token the next one where that is learnt, else `NO_WORD`, [n] int32.

    Example:
        >>> next_learnt(np.array([7, 8, 9]), np.array([False, True, False])).tolist()
        [8, -1, -1]
    """
    return np.append(np.where(learnt[1:], ids[1:], NO_WORD), NO_WORD).astype(np.int32)


LEARNT = Column("learnt", "conversation", "int32", next_learnt, "the next token", NO_WORD)
"""The column of a store with the token that is predicted behind each token."""
