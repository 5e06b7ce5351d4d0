"""The compiled decoding loop: tokens and state in, tokens and state out.

B batch (rows), T time, V vocabulary, D width, L longest text, N positions of one call.

At every position each row is fed its current token. Prompts end side by side, so that all rows begin to
sample at once; where a row begins its state is reset, so that it is exactly what the row would have alone.
With lengths 2 and 4:

    position   0   1   2   3   4
    row 0 fed  -   -   p0  p1  s0       p = prompt, s = sampled, - = nothing that would matter
    row 1 fed  p0  p1  p2  p3  s0

All but the last token of the prompts go through the network before that: in one pass where they are equally
long, else in one from each beginning of a row to the next.

The state of some networks has a limited number of cache slots, those of their context. When a text has all,
its last half is computed again as if it began there, which frees as many slots.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lm_keras.sampling import rules
from lm_keras.sampling.network import DecodingNetwork, Memory, State, Way, cache_size_for
from lm_keras.sampling.uniforms import uniform_numbers

NOTHING = -1
"""Stands in the returned tokens where a row is still in its prompt, or has ended."""

NO_END = 2**31 - 1


class Limits(NamedTuple):
    """Where the texts of a batch begin and end."""

    begins: tf.Tensor  # [B] int32, the column in which each prompt begins
    texts: tf.Tensor  # [B] int32, the same, or the column after it where the token there begins a document
    end: tf.Tensor  # [] int32, the column in which the first sampled token of every row is
    max_new_tokens: tf.Tensor  # [] int32


class Prompts(NamedTuple):
    """What is fixed while a batch is decoded."""

    limits: Limits
    cache_size: int | None  # slots of the state; None: any number of tokens
    matrices: list[tf.Tensor]  # what `CastOnce.made` returned at the beginning
    memory: Memory  # what the encoder made of sources, each of as many rows; empty without an encoder


class Carry(NamedTuple):
    """What goes from one call to the next. The token to feed is in column `position`."""

    position: tf.Tensor  # [] int32
    taken: tf.Tensor  # [] int32, slots of the cache
    tokens: tf.Tensor  # [B, L] int32, prompts and what was generated
    finished: tf.Tensor  # [B] bool
    state: State


class Chosen(NamedTuple):
    """What a call generated, position by position; `NOTHING` and 0 where a row generated no token.

    Attributes:
        tokens: [B, N] int32.
        log_probabilities: [B, N] float32, under the model's own distribution, before any rule.
        likeliest: [B, N, A] int32, the likeliest tokens there under the same distribution.
        likeliest_log_probabilities: [B, N, A] float32, theirs.
    """

    tokens: np.ndarray
    log_probabilities: np.ndarray
    likeliest: np.ndarray
    likeliest_log_probabilities: np.ndarray


class DecodeLoop:
    """A network's decoding loop. It is traced once for each `Way`, whatever the prompts and settings.

    Args:
        network: what gives the logits.
        eod_id: the token that ends a row, or several.
        allowed: [V] bool, the tokens that may be sampled.
        begin_id: the token that a document begins with, which the rules do not see; None for `eod_id`.

    Attributes:
        network, begin_id: as given.

    Example:
        >>> loop = DecodeLoop(DecodingNetwork(model), eod_id=0, allowed=[True] * vocab_size)
        >>> prompts, carry = loop.start([[0, 5, 3], [0]], max_new_tokens=8)
        >>> keys = [key_of(0, [0, 5, 3]), key_of(0, [0])]
        >>> uniforms = loop.uniforms(prompts, carry, keys, positions=10)
        >>> chosen, carry = loop.advance(prompts, carry, uniforms, RuleSettings.of())
    """

    def __init__(
        self,
        network: DecodingNetwork,
        eod_id: int | Sequence[int],
        allowed: list[bool] | np.ndarray,
        begin_id: int | None = None,
    ):
        self.network = network
        self._ends = np.array(eod_id, np.int32, ndmin=1)
        self._eod_id = int(self._ends[0])
        self.begin_id = int(self._eod_id if begin_id is None else begin_id)
        self._allowed = tf.constant(allowed, tf.bool)
        row, table = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)
        number, finished = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.bool)
        self._carry_specs = Carry(number, number, table, finished, network.state_specs)
        limits, uniforms = Limits(row, row, number, number), tf.TensorSpec([None, None], tf.float32)
        settings, matrices = rules.RuleSettings.signature(), network.matrices.specs
        signature = [limits, self._carry_specs, uniforms, settings, number, matrices, network.memory_specs]
        self._decode = {
            way: tf.function(
                functools.partial(self._decode_positions, way=way), input_signature=signature, autograph=False
            )
            for way in Way
        }

    @property
    def traces(self) -> int:
        """How often the loop was traced: at most once for each `Way`."""
        return sum(function.experimental_get_tracing_count() for function in self._decode.values())

    def start(
        self, prompts: list[list[int]], max_new_tokens: int, prefill: bool = True, memory: Memory = None
    ) -> tuple[Prompts, Carry]:
        """Put the prompts side by side so that they end together, and all but their last tokens through the
        network.

        The network's weights have to stay as they are until the last call of `advance` for these prompts.

        Args:
            prompts: B lists of at least one token each, and at most as many as the model's context has.
            max_new_tokens: tokens after which a row ends.
            prefill: whether to do the latter; without, the result is the same and takes longer.
            memory: what an encoder made of sources; as many rows of each follow one another.

        Returns:
            The prompts as tensors, and the carry before the first call of `advance`.
        """
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths) + max_new_tokens
        begins = max(lengths) - np.array(lengths, np.int32)
        # [B, L]; L grows as the texts do.
        tokens = np.full([len(prompts), max(lengths)], self._eod_id, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row] = [prompt[0]] * begins[row] + prompt
        cache_size, matrices = cache_size_for(self.network.model, longest), self.network.matrices.made()
        # The last token of a prompt gives the first sampled one, so it belongs to the loop.
        position = max(lengths) - 1 if prefill else 0
        # Several samples of a prompt have the same state at first.
        whole = np.concatenate([begins[:, None], tokens], 1)
        _, rows, row_of = np.unique(whole, axis=0, return_index=True, return_inverse=True)
        if len(rows) == len(prompts):
            rows = np.arange(len(prompts))
        first = tokens[rows, :position], begins[rows]
        state = self.network.prefilled(*first, longest if cache_size is None else cache_size, matrices)
        if len(rows) < len(prompts):
            index = tf.constant(row_of.ravel(), tf.int32)
            state = tf.nest.map_structure(
                lambda part: tf.gather(part, index) if part.shape.rank else part, state
            )
        at, finished = tf.constant(position), tf.zeros([len(prompts)], tf.bool)
        carry = Carry(at, at, tf.constant(tokens), finished, state)
        texts = begins + np.array([prompt[0] == self.begin_id for prompt in prompts], np.int32)
        limits = Limits(*map(tf.constant, (begins, texts, max(lengths), max_new_tokens)))
        return Prompts(limits, cache_size, matrices, memory or {}), carry

    def uniforms(self, prompts: Prompts, carry: Carry, keys: list[int], positions: int) -> np.ndarray:
        """Return the random numbers [B, N] of the next `positions` positions.

        Args:
            prompts: from `start`.
            carry: from `start` or `advance`.
            keys: [B], of each text, from `key_of`.
            positions: N.
        """
        first = int(carry.position) + 1 - int(prompts.limits.end)
        return np.stack([uniform_numbers(key, first, positions) for key in keys])

    def advance(
        self,
        prompts: Prompts,
        carry: Carry,
        uniforms: np.ndarray,
        settings: rules.RuleSettings,
        likeliest: int = 0,
    ) -> tuple[Chosen, Carry]:
        """Go on by N positions, or fewer when every row has ended.

        Args:
            prompts: from `start`.
            carry: from `start` or the previous call. Rows that are set to `finished` stay so.
            uniforms: [B, N], from `uniforms`.
            settings: the rules' settings.
            likeliest: A, how many of the likeliest tokens to return.

        Returns:
            What was generated at up to N positions, and the carry.
        """
        parts, done, count = [], 0, uniforms.shape[1]
        decode = self._decode[self.network.way(len(uniforms))]
        while done < count and not (parts and carry.finished.numpy().all()):
            carry = self._with_free_slot(prompts, carry)
            free = min(
                count - done, NO_END if prompts.cache_size is None else prompts.cache_size - int(carry.taken)
            )
            carry = self._with_columns(carry, int(carry.position) + free + 1)
            part = tf.constant(uniforms[:, done : done + free], tf.float32)
            fixed = tf.constant(likeliest), prompts.matrices, prompts.memory
            with self.network.ready(carry.state) as state_after:
                *values, carry = decode(prompts.limits, carry, part, settings, *fixed)
                carry = carry._replace(state=state_after(carry.state))
            parts.append([value.numpy() for value in values])
            done += free
        return Chosen(*(np.concatenate(values, 1) for values in zip(*parts))), carry

    def _with_columns(self, carry: Carry, count: int) -> Carry:
        """Return the carry with at least `count` columns of tokens; each time that there are too few, with
        twice as many.
        """
        there = carry.tokens.shape[1]
        if there >= count:
            return carry
        more = max(count, 2 * there) - there
        return carry._replace(tokens=tf.pad(carry.tokens, [[0, 0], [0, more]], constant_values=self._eod_id))

    def _with_free_slot(self, prompts: Prompts, carry: Carry) -> Carry:
        """Return the carry with a state that has a slot left: of a text that has taken all, the last half is
        computed again.
        """
        if prompts.cache_size is None or int(carry.taken) < prompts.cache_size:
            return carry
        position, begins = int(carry.position), prompts.limits.begins.numpy()
        moved = prompts.cache_size - prompts.cache_size // 2
        # From where each text is seen: a matter of its own length, not of the texts beside it.
        begins = begins + moved * np.maximum((position - begins - prompts.cache_size) // moved + 1, 0)
        first = int(begins.min())
        text = carry.tokens.numpy()[:, first:position], begins - first
        state = self.network.prefilled(*text, prompts.cache_size, prompts.matrices)
        return carry._replace(state=state, taken=tf.constant(position - first))

    def _decode_positions(
        self,
        limits: Limits,
        carry: Carry,
        uniforms: tf.Tensor,
        settings: rules.RuleSettings,
        likeliest: tf.Tensor,
        matrices: list[tf.Tensor],
        memory: Memory,
        way: Way,
    ) -> tuple[tf.Tensor | Carry, ...]:
        """Return what `Chosen` has, and the carry after the last position."""
        count = tf.shape(uniforms)[1]

        def goes_on(step: tf.Tensor, carry: Carry, *_: tf.TensorArray) -> tf.Tensor:
            return (step < count) & ~tf.reduce_all(carry.finished)

        def one_position(step: tf.Tensor, carry: Carry, *arrays: tf.TensorArray) -> tuple:
            token = tf.gather(carry.tokens, carry.position, axis=1)
            inputs = {"tokens": token[:, None], "reset": limits.begins == carry.position}
            if memory:
                inputs["memory"] = memory
            logits, state = self.network.next_logits(inputs, carry.state, matrices, way)
            values, carry = self._decode_one(
                limits, carry, logits, state, uniforms[:, step], settings, likeliest
            )
            return step + 1, carry, *(array.write(step, value) for array, value in zip(arrays, values))

        row, table = [None], [None, None]
        kinds = [(tf.int32, row), (tf.float32, row), (tf.int32, table), (tf.float32, table)]
        arrays = [tf.TensorArray(dtype, count, element_shape=shape) for dtype, shape in kinds]
        begun = [tf.constant(0), carry, *arrays]
        shapes = tf.nest.map_structure(lambda spec: spec.shape, self._carry_specs)
        invariants = [tf.TensorShape([]), shapes, *[tf.TensorShape(None)] * len(arrays)]
        step, carry, *arrays = tf.while_loop(goes_on, one_position, begun, invariants)
        values = [array.gather(tf.range(step)) for array in arrays]  # [N, B, ...]
        return *(tf.transpose(value, [1, 0, *range(2, len(value.shape))]) for value in values), carry

    def _decode_one(
        self,
        limits: Limits,
        carry: Carry,
        logits: tf.Tensor,
        state: State,
        uniform: tf.Tensor,
        settings: rules.RuleSettings,
        likeliest: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, ...], Carry]:
        """Choose a token of each row by its logits [B, V]."""
        past = rules.Past(carry.tokens, carry.position + 1, limits.end, limits.texts)
        sampled = rules.choose(logits, uniform, settings, self._allowed, past)  # [B]
        scores = -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=sampled, logits=logits)  # [B]
        best, best_ids = tf.cond(  # [B, A]
            likeliest > 0,
            lambda: tuple(tf.math.top_k(tf.nn.log_softmax(logits), likeliest)),
            lambda: (logits[:, :0], tf.zeros([tf.shape(logits)[0], 0], tf.int32)),
        )
        number = carry.position + 1 - limits.end  # of the generated token; below 0 in the prompts
        in_prompt = number < 0
        generated = ~in_prompt & ~carry.finished
        ends = tf.reduce_any(sampled[:, None] == self._ends, 1) | (number + 1 >= limits.max_new_tokens)
        here = tf.range(tf.shape(carry.tokens)[1]) == carry.position + 1
        tokens = tf.where(here & ~in_prompt, sampled[:, None], carry.tokens)
        finished = carry.finished | (generated & ends)
        values = (
            tf.where(generated, sampled, NOTHING),
            tf.where(generated, scores, 0.0),
            tf.where(generated[:, None], best_ids, NOTHING),
            tf.where(generated[:, None], best, 0.0),
        )
        return values, Carry(carry.position + 1, carry.taken + 1, tokens, finished, state)
