"""Networks that answer in conversations, trained here or instruct models of others."""

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


class Chat(Generator):
    """Answers in conversations, as the chat template of its tokenizer writes them; and continues texts.

    The arguments are those of `lm_keras.sampling.generate.Sampler`. The tokenizer has a chat template.
    """

    task = "chat"
    instead = "talk to it with scripts/sample.py --chat"

    @cached_property
    def _template(self) -> ChatTemplate:
        return template_of(self._tokenizer)

    def reply(self, messages: Messages, stream: bool = False, **settings: Any) -> str | Iterator[str]:
        """Return the answer of the assistant to a conversation.

        Args:
            messages: of the conversation, each a `Message` or a dictionary with `role` (`system`, `user` or
                `assistant`) and `content`.
            stream: return an iterator over the pieces of the answer instead, as they come.
            **settings: fields of `SamplingSettings`; `max_new_tokens` is 512 where it is not given. With
                `long_prompt="keep_end"` the oldest turns of a conversation that is too long are left out.

        Raises:
            InputError: the messages are none, the chat template refuses them, they are too many for the
                model's context, or a setting is not allowed.
        """
        checked = _checked(settings)
        self._notices.tell_stops(checked.stop)
        kept, ids = self._fitted(read_messages(messages), checked)
        if left_out := len(messages) - len(kept):
            self._say(f"the conversation is too long: its {left_out} oldest messages are left out")
        row = self._answer_row(ids, checked)
        if stream:
            return self._pieces(row, checked)
        return "".join(self._pieces(row, checked))

    def replies(self, conversations: Sequence[Messages], **settings: Any) -> list[Continuation]:
        """Return the answer to each conversation, with its tokens and the reason of its end; they are
        generated side by side. The arguments are those of `reply`.
        """
        checked = _checked(settings)
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

    def kept(self, messages: Messages, **settings: Any) -> list[Message]:
        """Return the messages of a conversation that the network reads for its answer: without the oldest
        turns, where it is too long and `long_prompt="keep_end"` allows that. The arguments are those of
        `reply`.
        """
        return [*self._fitted(read_messages(messages), _checked(settings))[0]]

    def most_tokens(self, settings: dict[str, Any]) -> int:
        """Return how many tokens an answer with some settings may have."""
        return _checked(settings).max_new_tokens

    def _fitted(
        self, messages: tuple[Message, ...], settings: SamplingSettings
    ) -> tuple[tuple[Message, ...], list[int]]:
        """Return the messages that the network reads, and their tokens.

        Raises:
            InputError: the conversation is too long and nothing of it may be left out, or even its last
                message is too long.
        """
        most = self._longest_prompt
        while True:
            ids = self._template.encode(messages, self._tokenizer, add_generation_prompt=True).ids.tolist()
            keeps_all = settings.long_prompt == "error"
            if most is None or len(ids) <= (most if keeps_all else _room(most, settings)):
                return messages, ids
            if keeps_all or not (shorter := without_oldest_turn(messages)):
                last = "" if keeps_all else "last message of the "
                raise InputError(
                    f"the {last}conversation has {len(ids):,} tokens, and the model looks back on {most:,} at"
                    " most; shorten it"
                    + (", or take long_prompt=keep_end to leave its oldest turns out" if keeps_all else "")
                )
            messages = shorter

    def _answer_row(self, ids: list[int], settings: SamplingSettings) -> GrowingContinuation:
        key, silent = key_of(settings.seed, ids, 0), {*self._tokenizer.special_tokens.values()}
        return GrowingContinuation(self._tokenizer, "", ids, settings, key, self._ends, silent)


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


def _room(most: int, settings: SamplingSettings) -> int:
    """Return how many tokens a conversation may have that leaves some for the answer."""
    return max(1, most // 2, most - settings.max_new_tokens)


def _checked(settings: dict[str, Any]) -> SamplingSettings:
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
