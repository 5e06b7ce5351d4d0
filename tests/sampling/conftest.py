"""Tiny networks and a tiny tokenizer: B 3, V 13, D 5."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.text import Tokenizer

V, D = 13, 5


def begun_anew(inputs, state):
    """Return the state with zeros in the rows whose state is reset."""
    if "reset" not in inputs:
        return state

    def fresh(part):
        reset = tf.reshape(inputs["reset"], [-1] + [1] * (part.shape.rank - 1))
        return tf.where(reset, tf.zeros([], part.dtype), part)

    return tf.nest.map_structure(fresh, state)


class TinyTokenizer(Tokenizer):
    """Bytes of `abc #N`, `é` (2 bytes) and `€` (3 bytes), each byte a token."""

    unknown_id = 1
    known = [b"a", b"b", b"c", b" ", b"#", b"N", b"\xc3", b"\xa9", b"\xe2", b"\x82", b"\xac"]

    def __init__(self):
        super().__init__("none", [b"", b"", *self.known])

    def _encode(self, text):
        ids = {token[0]: number + 2 for number, token in enumerate(self.known)}
        return np.array(
            [i for c in text for i in ([ids[b] for b in c.encode()] if set(c.encode()) <= set(ids) else [1])],
            np.int32,
        )

    def _files(self):
        raise NotImplementedError

    def _from_settings(self, folder, settings):
        raise NotImplementedError


class TinyModel(keras.Model):
    """A recurrent state, and a cache over which it takes the mean: both kinds of state there are."""

    context_length = None

    def __init__(self, scale=2.0, seed=0):
        super().__init__()
        random = np.random.default_rng(seed)
        self.table, self.recurrent, self.output_matrix = (
            tf.Variable(random.normal(0, scale, shape), dtype=tf.float32)
            for shape in ([V, D], [D, D], [D, V])
        )

    def initial_state(self, batch_size, length=None):
        return {
            "h": tf.zeros([batch_size, D]),
            "cache": [tf.zeros([batch_size, length or 90, D]), tf.zeros([batch_size], tf.int32)],
        }

    def forward(self, inputs, state, draw=None):
        state = begun_anew(inputs, state)
        x = tf.gather(self.table, inputs["tokens"])  # [B, T, D]
        step = lambda h, e: tf.tanh(e + tf.matmul(h, self.recurrent))  # noqa: E731
        h = tf.transpose(tf.scan(step, tf.transpose(x, [1, 0, 2]), state["h"]), [1, 0, 2])
        cache, count = state["cache"]
        size, time = tf.shape(cache)[1], tf.shape(x)[1]
        position = count[:, None] + tf.range(time)  # [B, T]
        cache += tf.einsum("btl,btd->bld", tf.one_hot(position, size), x)
        seen = tf.cast(tf.range(size) <= position[..., None], tf.float32)  # [B, T, L]
        mean = tf.einsum("btl,bld->btd", seen / tf.reduce_sum(seen, -1, keepdims=True), cache)
        return h + mean, {"h": h[:, -1], "cache": [cache, count + time]}

    def project(self, features):
        return tf.cast(tf.tensordot(features, self.output_matrix, 1), tf.float32)

    def call(self, tokens):
        state = self.initial_state(tf.shape(tokens)[0], tf.shape(tokens)[1])
        return self.project(self.forward({"tokens": tokens}, state)[0])


class Forgetful(TinyModel):
    """A broken network: it carries no state."""

    def forward(self, inputs, state, draw=None):
        return super().forward(inputs, state)[0], state


class Hasty(TinyModel):
    """A broken network: of several tokens at once it forgets the last."""

    def forward(self, inputs, state, draw=None):
        features, after = super().forward(inputs, state)
        if inputs["tokens"].shape[1] != 1:
            few = tf.maximum(1, tf.shape(inputs["tokens"])[1] - 1)
            after["h"] = super().forward({**inputs, "tokens": inputs["tokens"][:, :few]}, state)[1]["h"]
        return features, after


class Mixing(TinyModel):
    """A broken network: rows see each other."""

    def forward(self, inputs, state, draw=None):
        features, state = super().forward(inputs, state)
        return features + tf.reduce_mean(features, axis=0), state


class Scripted(keras.Model):
    """After `context` tokens it says `ids`, then end-of-document; each with probability 1 but for e-13."""

    context_length = None

    def __init__(self, ids, context=1):
        super().__init__()
        self.script = tf.constant([0] * (context - 1) + list(ids) + [0])

    def initial_state(self, batch_size, length=None):
        return (tf.zeros([batch_size], tf.int32),)

    def forward(self, inputs, state, draw=None):
        state = begun_anew(inputs, state)
        time = tf.shape(inputs["tokens"])[1]
        position = state[0][:, None] + tf.range(time)
        return tf.cast(position[..., None], tf.float32), (state[0] + time,)

    def project(self, features):
        position = tf.minimum(tf.cast(features[..., 0], tf.int32), len(self.script) - 1)
        return tf.one_hot(tf.gather(self.script, position), V, on_value=30.0)


@pytest.fixture(scope="session")
def tokenizer():
    return TinyTokenizer()


@pytest.fixture(scope="session")
def tiny():
    return TinyModel()


@pytest.fixture(scope="session")
def forgetful():
    return Forgetful()


@pytest.fixture(scope="session")
def hasty():
    return Hasty()


@pytest.fixture(scope="session")
def mixing():
    return Mixing()


@pytest.fixture(scope="session")
def scripted():
    return Scripted
