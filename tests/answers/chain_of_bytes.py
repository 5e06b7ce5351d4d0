"""A chat model that says a text which a test chooses."""

import string

import keras
import tensorflow as tf

from lm_keras.answers import answer_for
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import CHATML
from lm_keras.text.byte import ByteTokenizer

TOKENIZER = (
    ByteTokenizer("none").with_special_tokens(["<|im_start|>", "<|im_end|>"]).with_chat_template(CHATML)
)
START, END = TOKENIZER.special_tokens.values()
ASK = [Message("user", "Hi")]
LETTERS = string.ascii_letters + string.digits


class Chain(keras.Model):
    """A network whose next token follows from the last one alone; behind the line feed of a prompt it says a
    text, in which each byte comes once, and then a token.
    """

    def __init__(self, text, last=END, context_length=None):
        super().__init__()
        self.context_length = context_length
        ids = [TOKENIZER.encode("\n")[0], *TOKENIZER.encode(text), last]
        following = dict(zip(ids, ids[1:]))
        self.table = tf.constant([following.get(n, last) for n in range(TOKENIZER.vocab_size)])

    def initial_state(self, batch_size, length=None):
        return (tf.zeros([batch_size], tf.int32),)

    def forward(self, inputs, state, draw=None):
        return tf.cast(inputs["tokens"], tf.float32)[..., None], state

    def project(self, features):
        following = tf.gather(self.table, tf.cast(features[..., 0], tf.int32))
        return tf.one_hot(following, TOKENIZER.vocab_size, on_value=30.0)


def chat_of(text, said=None, last=END, context_length=None):
    say = (lambda line: None) if said is None else said.append
    return answer_for("chat", Chain(text, last, context_length), TOKENIZER, say)
