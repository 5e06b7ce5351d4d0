"""What a network answers in held-out conversations, beside what is said there; and conversations whose
questions are shuffled.

n conversations.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lm_keras.conversations.messages import ASSISTANT, USER, Message
from lm_keras.conversations.template import template_of
from lm_keras.corpora.documents import Document
from lm_keras.data.conversations import LEARNT, ConversationEncoder, next_learnt
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.sampling.continuation import Continuation
from lm_keras.text.tokenizer import Tokenizer

ROWS = 32
"""Conversations that are answered side by side."""

MOST_TOKENS = 256
"""Tokens of an answer, at most."""

LEAST_TOKENS = 16
"""Tokens of an answer that the context has to leave free; longer conversations are not answered."""

Replies = Callable[..., list[Continuation]]
"""Conversations, and settings of sampling -> the answer to each; see `lm_keras.answers.chat.Chat.replies`."""


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedAnswers:
    """Answers that were generated in conversations, in their order.

    Attributes:
        places: where each conversation is from: `chats.jsonl:17`.
        conversations: the messages before each answer.
        said: what the assistant says there.
        outputs: what was generated.
        ended: [n] bool, whether the network ended its answer itself.
        decoded: how, in words, and for how many conversations.
    """

    places: Sequence[str]
    conversations: Sequence[tuple[Message, ...]]
    said: Sequence[str]
    outputs: Sequence[str]
    ended: np.ndarray
    decoded: str = ""

    title = "answers"

    @property
    def sources(self) -> list[str]:
        """Return the last message before each answer."""
        return [messages[-1].content for messages in self.conversations]

    @property
    def references(self) -> list[tuple[str, ...]]:
        """Return what the assistant says, one text for each answer."""
        return [(text,) for text in self.said]

    def measures(self) -> dict[str, Any]:
        """Return `ended`, the share of the answers that the network ended itself, and `decoded`."""
        return {"ended": float(np.mean(self.ended)), "decoded": self.decoded}

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield for each answer `place`, the `messages` before it, `reference`, `output` and `ended`."""
        for place, messages, said, output, ended in zip(
            self.places, self.conversations, self.said, self.outputs, self.ended
        ):
            told = [message._asdict() for message in messages]
            yield {
                "place": place, "messages": told, "reference": said, "output": output, "ended": bool(ended),
            }  # fmt: skip


def answers_for(
    replies: Replies,
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    context_length: int | None,
    say: Callable[[str], None] = lambda line: None,
) -> GeneratedAnswers | None:
    """Generate the last answer of each conversation greedily.

    Args:
        replies: see `Replies`.
        documents: the conversations.
        tokenizer: of the network, with its chat template.
        context_length: the most tokens that the network reads; None for any number. A conversation that
            leaves fewer than `LEAST_TOKENS` of them for an answer is left out.
        say: called with a line where there is no conversation to answer.

    Returns:
        The answers; None where there is no conversation to answer.
    """
    template, documents, asked, whole = template_of(tokenizer), list(documents), [], 0
    for document in documents:
        last = max(n for n, message in enumerate(document.messages) if message.role == ASSISTANT)
        before, said = document.messages[:last], document.messages[last].content
        if not before or before[-1].role != USER:
            continue
        whole += 1
        size = len(template.encode(before, tokenizer, add_generation_prompt=True).ids)
        if context_length is None or context_length - size >= LEAST_TOKENS:
            asked.append((size, document.source, before, said))
    if not asked:
        if documents:
            say(_nothing_asked(len(documents), whole, context_length))
        return None
    order, found = sorted(range(len(asked)), key=lambda number: asked[number][0]), {}
    for begin in range(0, len(order), ROWS):
        numbers = order[begin : begin + ROWS]
        some = [asked[number][2] for number in numbers]
        found.update(zip(numbers, replies(some, temperature=0.0, max_new_tokens=MOST_TOKENS)))
    answers = [found[number] for number in range(len(asked))]
    _, places, conversations, said = zip(*asked)
    told = f"greedy, {len(asked):,} conversations"
    told += f"; {whole - len(asked):,} others are too long for an answer" if whole > len(asked) else ""
    ended = np.array([answer.ended_by == "eod" for answer in answers])
    return GeneratedAnswers(places, conversations, said, [one.text for one in answers], ended, told)


def _nothing_asked(given: int, whole: int, context_length: int | None) -> str:
    """Return why no answer is generated: of the given conversations `whole` end with an answer to a user."""
    line = f"no answers are generated, of {given:,} conversations "
    if not whole:
        return f"{line}there is none in which the assistant answers a user at last"
    return f"{line}none leaves {LEAST_TOKENS} of the {context_length:,} tokens of the context for an answer"


def shuffled_questions(documents: Iterable[Document]) -> list[Document]:
    """Return conversations in which each message of a user is that of another conversation.

    The first message of a user becomes that of the conversation half of them later, from the beginning again
    behind the last; likewise the second among the conversations that have one, and so on. What only one
    conversation has becomes the first message of the next conversation.

    Example: the questions A, B, C, D of four conversations become C, D, A, B.
    """
    documents = list(documents)
    questions = [[m for m in document.messages if m.role == USER] for document in documents]
    others: list[list[Message]] = [[] for _ in documents]
    for turn in range(max(map(len, questions), default=0)):
        having = [number for number, own in enumerate(questions) if len(own) > turn]
        for place, number in enumerate(having):
            other = having[(place + len(having) // 2) % len(having)]
            if other == number:
                following = [*questions[number + 1 :], *questions[:number]]
                others[number].append(next((own[0] for own in following if own), questions[number][turn]))
            else:
                others[number].append(questions[other][turn])
    found = []
    for document, own in zip(documents, map(iter, others)):
        messages = tuple(next(own) if message.role == USER else message for message in document.messages)
        found.append(Document.from_messages(document.source, messages))
    return found


def store_of(documents: Iterable[Document], tokenizer: Tokenizer) -> TokenStore:
    """Return conversations, at least one, in memory as a store; those that the chat template refuses are left
    out.
    """
    encode, tokens, learnt, begins, size = ConversationEncoder(tokenizer), [], [], [], 0
    for document in documents:
        try:
            ids, own = encode(document)
        except InputError:
            continue
        begins.append(size + 1)
        size += 1 + len(ids)
        tokens += [[tokenizer.eod_id], ids]
        learnt += [[LEARNT.between], next_learnt(ids, own)]
    counts = TextCounts(size - 1, 0, 0, 0, len(begins))
    columns = {LEARNT.name: np.concatenate(learnt).astype(np.int32)}
    return TokenStore(np.concatenate(tokens).astype(np.int32), np.array(begins), counts, columns=columns)
