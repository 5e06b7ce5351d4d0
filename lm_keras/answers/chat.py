"""Networks that answer in conversations, trained here or instruct models of others."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from lm_keras.answers.generator import Generator
from lm_keras.conversations.messages import ASSISTANT, SYSTEM, USER, Message, read_messages
from lm_keras.conversations.template import ChatTemplate, end_of_turn, template_of
from lm_keras.errors import InputError
from lm_keras.sampling.continuation import Continuation, GrowingContinuation
from lm_keras.sampling.generate import GENERATE_POSITIONS
from lm_keras.sampling.settings import SamplingSettings, settings_from
from lm_keras.sampling.uniforms import key_of
from lm_keras.text.tokenizer import Tokenizer

ANSWER_TOKENS = 512
"""Tokens of an answer at most, where nothing else is said."""

Messages = Sequence[Message | dict[str, str]]


@dataclasses.dataclass(eq=False)
class ChatReply(Iterator[str]):
    """An answer of the assistant as it comes: an iterator over its pieces.

    Attributes:
        messages: of the conversation that the network reads: without the oldest turns, where they are left
            out.
        pieces: of the answer.
        growing: the answer so far.
    """

    messages: tuple[Message, ...]
    pieces: Iterator[str]
    growing: GrowingContinuation

    def __next__(self) -> str:
        return next(self.pieces)

    @property
    def ended_by(self) -> str:
        """Return why the answer ended, see `lm_keras.sampling.continuation.Continuation`; empty while it
        grows.
        """
        return self.growing.ended_by


class Chat(Generator):
    """Answers in conversations, as the chat template of its tokenizer writes them; and continues texts.

    The arguments are those of `lm_keras.sampling.generate.Sampler`. The tokenizer has a chat template.

    An answer ends where the context of the model is full. So the model reads the whole conversation for each
    of its tokens.
    """

    task = "chat"
    instead = "talk to it with scripts/sample.py --chat"

    @cached_property
    def _template(self) -> ChatTemplate:
        return template_of(self._tokenizer)

    def reply(self, messages: Messages, stream: bool = False, **settings: Any) -> str | ChatReply:
        """Return the answer of the assistant to a conversation.

        A line is said if messages are left out, and, unless the answer is streamed, if it has filled the
        context.

        Args:
            messages: of the conversation, each a `Message` or a dictionary with `role` (`system`, `user` or
                `assistant`) and `content`.
            stream: return the answer as an iterator over its pieces instead, as they come.
            **settings: fields of `SamplingSettings`; `max_new_tokens` is 512 where it is not given. With
                `long_prompt="keep_end"` the oldest turns of a conversation that is too long are left out.

        Raises:
            InputError: the messages are none, the chat template refuses them, they are too many for the
                model's context, or a setting is not allowed.
        """
        checked, messages = settings_of_answer(settings), read_messages(messages)
        self._notices.tell_stops(checked.stop)
        kept, ids = self._fitted(messages, checked)
        if left_out := len(messages) - len(kept):
            self._say(f"the conversation is too long: its {left_out} oldest messages are left out")
        row = self._answer_row(ids, checked)
        reply = ChatReply(kept, self._pieces(row, checked), row)
        if stream:
            return reply
        text = "".join(reply)
        if reply.ended_by == "context":
            self._say(
                f"the answer was cut at its end: the conversation has filled the {self._longest_prompt:,}"
                " tokens that the model looks back on"
            )
        return text

    def replies(self, conversations: Sequence[Messages], **settings: Any) -> list[Continuation]:
        """Return the answer to each conversation, with its tokens and the reason of its end; they are
        generated side by side. The arguments are those of `reply`.
        """
        checked = settings_of_answer(settings)
        asked = [self._fitted(read_messages(messages), checked)[1] for messages in conversations]
        if not asked:
            return []
        self._check_state(asked, checked)
        rows = [self._answer_row(ids, checked) for ids in asked]
        for _ in self._decode(rows, checked, GENERATE_POSITIONS):
            pass
        return [row.continuation() for row in rows]

    def asked_in_turn(self, messages: Messages, settings: SamplingSettings) -> list[GrowingContinuation]:
        """Return the answer to a conversation, which is still empty and joins a batch of `batch_for`.

        Args:
            messages: as for `reply`.
            settings: of sampling, with one seed, one sample and one beam.

        Raises:
            InputError: as for `reply`.
        """
        return [self._answer_row(self._fitted(read_messages(messages), settings)[1], self._told(settings))]

    def _fitted(
        self, messages: tuple[Message, ...], settings: SamplingSettings
    ) -> tuple[tuple[Message, ...], list[int]]:
        """Return the messages that the network reads, and their tokens.

        With `long_prompt="keep_end"` they leave the answer its `max_new_tokens`, or half of the context if
        that is less.

        Raises:
            InputError: the conversation is too long and nothing more of it may be left out.
        """
        context, keeps_all = self._longest_prompt, settings.long_prompt == "error"
        most = context
        if context is not None and not keeps_all:
            most = max(1, context // 2, context - settings.max_new_tokens)
        kept = messages
        while True:
            ids = self._template.encode(kept, self._tokenizer, add_generation_prompt=True).ids.tolist()
            if most is None or len(ids) <= most:
                return kept, ids
            if keeps_all:
                raise InputError(
                    f"the conversation has {len(ids):,} tokens, and the model looks back on {most:,} at most;"
                    " shorten it, or take long_prompt=keep_end to leave its oldest turns out"
                )
            if not (shorter := without_oldest_turn(kept)):
                which = "" if kept == messages else "even without its oldest turns "
                raise InputError(
                    f"{which}the conversation has {len(ids):,} tokens, and {most:,} of the {context:,} that"
                    " the model looks back on may stand before an answer; shorten it"
                )
            kept = shorter

    def _answer_row(self, ids: list[int], settings: SamplingSettings) -> GrowingContinuation:
        key, silent = key_of(settings.seed, ids, 0), {*self._tokenizer.special_tokens.values()}
        context = self._longest_prompt
        left = None if context is None else context - len(ids) + 1  # Nothing is read behind the last token.
        return GrowingContinuation(self._tokenizer, "", ids, settings, key, self._ends, silent, left)


def without_oldest_turn(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return a conversation without its oldest question and the answers to it; nothing if it has only one.

    A system message stays.

    Example:
        >>> hi, ho, so = Message("user", "Hi"), Message("assistant", "Ho"), Message("user", "So?")
        >>> without_oldest_turn((hi, ho, so)) == (so,)
        True
    """
    first = int(messages[0].role == SYSTEM)
    later = [n for n, message in enumerate(messages) if n > first and message.role == USER]
    return messages[:first] + messages[later[0] :] if later else ()


def ends_of_turns(tokenizer: Tokenizer, end_ids: Iterable[int]) -> tuple[int, ...]:
    """Return the tokens that end an answer: some that are known, and the one that the chat template of the
    tokenizer writes behind an answer.
    """
    found = end_of_turn(tokenizer)
    return (*end_ids, *([] if found is None else [found]))


def settings_of_answer(settings: dict[str, Any]) -> SamplingSettings:
    """Return the settings of an answer, with its own default for `max_new_tokens`.

    Raises:
        InputError: one of them is not allowed, or has no meaning in a conversation.
    """
    checked = settings_from({"max_new_tokens": ANSWER_TOKENS, **settings})
    for name in ("num_samples", "num_beams"):
        if getattr(checked, name) != 1:
            raise InputError(
                f"{name}={getattr(checked, name)} has no meaning in a conversation, which has one answer; "
                "leave it out"
            )
    if not isinstance(checked.seed, int):
        raise InputError("a conversation has one seed; give one")
    return checked


def last_answer_removed(messages: Sequence[Message]) -> list[Message]:
    """Return a conversation without its last question and what follows it."""
    kept = list(messages)
    while kept and kept[-1].role == ASSISTANT:
        kept.pop()
    return kept[:-1] if kept and kept[-1].role == USER else kept
