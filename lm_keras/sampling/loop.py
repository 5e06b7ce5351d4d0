"""The compiled decoding loop: tokens and state in, tokens and state out.

B batch (rows), T time, V vocabulary, D width, P longest prompt, N positions of one call.

At every position each row is fed its current token. The next one is the prompt's while the row's prompt goes
on, and the sampled one after that. So prompts of different lengths need no padding logic, and the state is
exactly what the row would have alone. With lengths 2 and 4:

    position   0   1   2   3   4
    row 0 fed  p0  p1  s0  s1  s2       p = prompt, s = sampled
    row 1 fed  p0  p1  p2  p3  s0
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lm_keras.sampling import rules

NOTHING = -1
"""Stands in the returned tokens where a row is still in its prompt, or has ended."""

PREFILL_BLOCK = 64
"""Prompt tokens that go through the network at once, before the loop goes on token by token."""


class Prompts(NamedTuple):
    """What is fixed while a batch is decoded: the prompts, padded at the end, and their lengths."""

    tokens: tf.Tensor  # [B, P] int32
    lengths: tf.Tensor  # [B] int32, each at least 1
    max_new_tokens: tf.Tensor  # [] int32


class Carry(NamedTuple):
    """What goes from one call to the next. `token` is the one to feed at `position`."""

    position: tf.Tensor  # [] int32
    token: tf.Tensor  # [B] int32
    finished: tf.Tensor  # [B] bool
    state: object  # the network's, first axis B


class DecodeLoop:
    """A network's decoding loop. It is traced once, whatever the prompts, batch sizes, lengths and settings.

    Args:
        model: a network: `forward(inputs, state)`, `project(features)`, `initial_state(batch_size, length)`.
        eod_id: the token that ends a row.
        allowed: [V] bool, the tokens that may be sampled.

    Example:
        >>> loop = DecodeLoop(model, eod_id=0, allowed=[True] * vocab_size)
        >>> prompts, carry = loop.start([[0, 5, 3], [0]], max_new_tokens=8)
        >>> uniforms = loop.uniforms(prompts, carry, seed=0, samples=[0, 0], positions=10)
        >>> tokens, log_probabilities, carry = loop.advance(prompts, carry, uniforms, RuleSettings.of())
    """

    def __init__(self, model: keras.Model, eod_id: int, allowed: list[bool] | np.ndarray):
        self._model = model
        self._eod_id = int(eod_id)
        self._allowed = tf.constant(allowed, tf.bool)
        self._state_specs = state_specs(model)
        row = tf.TensorSpec([None], tf.int32)
        self._carry_specs = Carry(
            tf.TensorSpec([], tf.int32), row, tf.TensorSpec([None], tf.bool), self._state_specs
        )
        self._prefill = tf.function(
            self._prefill_block,
            input_signature=[tf.TensorSpec([None, PREFILL_BLOCK], tf.int32), self._state_specs],
            autograph=False,
        )
        self._decode = tf.function(
            self._decode_positions,
            input_signature=[
                Prompts(tf.TensorSpec([None, None], tf.int32), row, tf.TensorSpec([], tf.int32)),
                self._carry_specs,
                tf.TensorSpec([None, None], tf.float32),
                rules.RuleSettings.signature(),
            ],
            autograph=False,
        )

    @property
    def traces(self) -> int:
        """How often a function of this loop was traced: at most 2, the loop and the prefill."""
        return sum(f.experimental_get_tracing_count() for f in (self._decode, self._prefill))

    def start(
        self, prompts: list[list[int]], max_new_tokens: int, prefill: bool = True
    ) -> tuple[Prompts, Carry]:
        """Pad the prompts and put what they have in common of whole blocks through the network.

        Args:
            prompts: B lists of at least one token each.
            max_new_tokens: tokens after which a row ends.
            prefill: whether to use blocks at all; without, the result is the same and takes longer.

        Returns:
            The prompts as tensors, and the carry before the first call of `advance`.
        """
        lengths = [len(prompt) for prompt in prompts]
        tokens = np.full([len(prompts), max(lengths)], self._eod_id, np.int32)  # [B, P]
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        state = self._model.initial_state(len(prompts), length=max(lengths) + max_new_tokens)
        # The last token of a prompt gives the first sampled one, so it belongs to the loop.
        position = (min(lengths) - 1) // PREFILL_BLOCK * PREFILL_BLOCK if prefill else 0
        for begin in range(0, position, PREFILL_BLOCK):
            state = self._prefill(tf.constant(tokens[:, begin : begin + PREFILL_BLOCK]), state)
        carry = Carry(
            tf.constant(position), tf.constant(tokens[:, position]), tf.zeros([len(prompts)], tf.bool), state
        )
        return Prompts(
            tf.constant(tokens), tf.constant(lengths, tf.int32), tf.constant(max_new_tokens)
        ), carry

    def uniforms(
        self, prompts: Prompts, carry: Carry, seed: int, samples: list[int], positions: int
    ) -> np.ndarray:
        """Return the random numbers [B, N] of the next `positions` positions.

        Args:
            prompts: from `start`.
            carry: from `start` or `advance`.
            seed: the seed of the whole text.
            samples: [B], which continuation of its prompt each row is.
            positions: N.
        """
        first = int(carry.position) + 1 - prompts.lengths.numpy()  # [B]
        return np.stack([uniform_numbers(seed, s, int(f), positions) for s, f in zip(samples, first)])

    def advance(
        self, prompts: Prompts, carry: Carry, uniforms: np.ndarray, settings: rules.RuleSettings
    ) -> tuple[np.ndarray, np.ndarray, Carry]:
        """Go on by N positions, or fewer when every row has ended.

        Args:
            prompts: from `start`.
            carry: from `start` or the previous call. Rows that are set to `finished` stay so.
            uniforms: [B, N], from `uniforms`.
            settings: the rules' settings.

        Returns:
            The generated tokens [B, up to N] int32, `NOTHING` where a row generated none; their
            log-probabilities [B, up to N] float32 under the model's own distribution, before any rule; the carry.
        """
        tokens, scores, carry = self._decode(prompts, carry, tf.constant(uniforms, tf.float32), settings)
        return tokens.numpy(), scores.numpy(), carry

    def _prefill_block(self, tokens, state):
        return self._model.forward({"tokens": tokens}, state)[1]

    def _decode_positions(self, prompts: Prompts, carry: Carry, uniforms, settings):
        count = tf.shape(uniforms)[1]

        def goes_on(step, carry, tokens, scores):
            del tokens, scores
            return (step < count) & ~tf.reduce_all(carry.finished)

        def one_position(step, carry, tokens, scores):
            token, score, carry = self._decode_one(prompts, carry, uniforms[:, step], settings)
            return step + 1, carry, tokens.write(step, token), scores.write(step, score)

        step, carry, tokens, scores = tf.while_loop(
            goes_on,
            one_position,
            [
                tf.constant(0),
                carry,
                tf.TensorArray(tf.int32, count, element_shape=[None]),
                tf.TensorArray(tf.float32, count, element_shape=[None]),
            ],
            shape_invariants=[
                tf.TensorShape([]),
                tf.nest.map_structure(lambda spec: spec.shape, self._carry_specs),
                tf.TensorShape(None),
                tf.TensorShape(None),
            ],
        )
        taken = tf.range(step)
        return tf.transpose(tokens.gather(taken)), tf.transpose(scores.gather(taken)), carry  # [B, N]

    def _decode_one(self, prompts: Prompts, carry: Carry, uniform, settings):
        features, state = self._model.forward({"tokens": carry.token[:, None]}, carry.state)  # [B, 1, D]
        logits = self._model.project(features[:, 0])  # [B, V]
        sampled = rules.choose(logits, uniform, settings, self._allowed)  # [B]
        scores = -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=sampled, logits=logits)  # [B]

        number = carry.position + 1 - prompts.lengths  # [B] of the generated token; below 0 in the prompt
        in_prompt = number < 0
        generated = ~in_prompt & ~carry.finished
        ends = (sampled == self._eod_id) | (number + 1 >= prompts.max_new_tokens)
        column = tf.minimum(carry.position + 1, tf.shape(prompts.tokens)[1] - 1)
        token = tf.where(in_prompt, prompts.tokens[:, column], sampled)
        carry = Carry(carry.position + 1, token, carry.finished | (generated & ends), state)
        return tf.where(generated, sampled, NOTHING), tf.where(generated, scores, 0.0), carry


def uniform_numbers(seed: int, sample: int, first: int, count: int) -> np.ndarray:
    """Return the uniform numbers [count] of the generated tokens `first`, `first + 1`, ...

    A number depends on (seed, sample, number of the token) only: not on the batch, the device, or the
    TensorFlow version. Before token 0, in the prompt, it is 0.

    Args:
        seed: any integer.
        sample: which continuation of its prompt this is.
        first: number of the first token; negative in the prompt.
        count: how many numbers.

    Returns:
        float32 in (0, 1), 23 random bits each.

    Example:
        >>> whole = uniform_numbers(seed=3, sample=0, first=0, count=9)
        >>> bool((uniform_numbers(3, 0, 5, 4) == whole[5:]).all())
        True

    Reference: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox).
    """
    in_prompt = min(count, max(0, -first))
    block, skipped = divmod(max(0, first), 4)  # A Philox block is 4 numbers.
    # The key is written down whole: numpy would spread a single integer with a hash of its own.
    philox = np.random.Philox(key=(seed % 2**64) + ((sample % 2**64) << 64), counter=block)
    raw = philox.random_raw(skipped + count - in_prompt)[skipped:]
    # Never 0: that would choose the first token there is, however small its probability.
    numbers = (raw >> np.uint64(41)).astype(np.float32) * np.float32(2**-23) + np.float32(2**-24)
    return np.concatenate([np.zeros(in_prompt, np.float32), numbers])


def state_specs(model: keras.Model):
    """Return the structure of a network's state as `tf.TensorSpec`, with None for every axis that varies.

    Axes that vary with the batch size or with the length are found by asking for two states that differ in both.
    """
    one, other = model.initial_state(2, length=3), model.initial_state(5, length=7)

    def spec(a, b):
        return tf.TensorSpec([m if m == n else None for m, n in zip(a.shape, b.shape)], a.dtype)

    return tf.nest.map_structure(spec, one, other)
