"""Conversations as documents, and their tokens in a store."""

from lm_keras.conversations.messages import read_messages
from lm_keras.corpora.documents import Document
from lm_keras.data.conversations import with_template
from lm_keras.evaluation.answers import store_of
from lm_keras.text.byte import ByteTokenizer

TOKENIZER = with_template(ByteTokenizer("none"))
START, END = (TOKENIZER.special_tokens[name] for name in ("<|im_start|>", "<|im_end|>"))


def said(*contents, system=None):
    """Messages in turn: what the user and the assistant say, perhaps behind a system message."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    return read_messages([{"role": "system", "content": system}, *messages] if system else messages)


def stored(*conversations, tokenizer=TOKENIZER):
    return store_of([Document.from_messages("a", messages) for messages in conversations], tokenizer)


def ids(text):
    """The tokens of a text in ChatML, where `[` and `]` stand for its two special tokens."""
    found = []
    for letter in text:
        found += [START] if letter == "[" else [END] if letter == "]" else TOKENIZER.encode(letter)
    return found
