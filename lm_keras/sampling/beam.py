"""Beam search: the texts that a model finds likeliest, as far as a search of limited width sees them.

N prompts, n of them whose search goes on, K beams of each, V vocabulary, L longest text.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.sampling import rules
from lm_keras.sampling.hypotheses import (
    IMPOSSIBLE,
    NOT_FINITE,
    Beams,
    Hypothesis,
    Lengths,
    Width,
    chosen_of,
    hypotheses_of,
    joined,
    of_prompts,
    replaced,
    rows_of,
    unless,
)
from lm_keras.sampling.network import DecodingNetwork, Memory, State, cache_size_for

MAX_NUMBERS = 2**26
"""Tokens of all beams, and logits of all beams at a step: 256 MiB each, and there are several of them."""


class _Search(NamedTuple):
    """Everything that a step of the search changes."""

    length: tf.Tensor  # [] int32, tokens of each text that goes on
    numbers: tf.Tensor  # [n] int32, the prompts whose search goes on
    alive: Beams  # [n, K, ...]
    ended: Beams  # [N, K, ...]
    memory: Memory  # first axis n
    state: State  # first axis n K


class BeamSearch:
    """Beam search with a network, for several prompts at once. It is traced once, whatever the prompts,
    beams, lengths and settings.

    At every step the 2 K best ways to go on from the K texts of a prompt are looked at: those that end the
    document or hold a stop string are set aside, the best K others go on. The search of a prompt ends when
    no text can become better than those that are wanted. Then its beams are dropped, so that the network
    computes nothing more for them. Whether a text holds a stop string is asked in Python, since it may begin
    and end within tokens.

    Args:
        network: what gives the logits.
        eod_id: the token that ends a document, or several.
        allowed: [V] bool, the tokens that may be chosen.
        begin_id: the token that a document begins with, which the rules do not see; None for `eod_id`.
        apart: whether the text is one of its own, as a translation is: the rules that look at the text so far
            do not see the prompt; a log-probability is that of the model's own distribution, also where the
            rules reject tokens; and a text ends only if that is one of the K best ways to go on. Otherwise
            the distribution is that of the tokens that are left, and each of the 2 K ways may end a text.

    Reference: Graves (2012), section 2.1; the length penalty: Wu et al. (2016), equation 14.
    """

    def __init__(
        self,
        network: DecodingNetwork,
        eod_id: int | Sequence[int],
        allowed: np.ndarray,
        begin_id: int | None = None,
        apart: bool = False,
    ):
        self._network, self._ends, self._apart = network, np.array(eod_id, np.int32, ndmin=1), apart
        self._begin_id = int(self._ends[0]) if begin_id is None else begin_id
        self._allowed = tf.constant(allowed, tf.bool)
        self._ended: Callable[[list[int]], bool] | None = None
        number, row = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)
        self._search = tf.function(
            self._search_from,
            input_signature=[
                tf.TensorSpec([None, None], tf.int32), Lengths(row, row),
                Width(number, tf.TensorSpec([], tf.float32), number), tf.TensorSpec([], tf.bool),
                rules.RuleSettings.signature(), network.memory_specs, network.state_specs,
                network.matrices.specs,
            ],
            autograph=False,
        )  # fmt: skip

    @property
    def traces(self) -> int:
        """How often the search was traced: at most once."""
        return self._search.experimental_get_tracing_count()

    def search(
        self,
        prompts: Sequence[Sequence[int]],
        lengths: Lengths,
        width: Width,
        settings: rules.RuleSettings,
        ended: Callable[[list[int]], bool] | None = None,
        memory: Memory | None = None,
    ) -> list[list[Hypothesis]]:
        """Return for each prompt the best texts that follow it, up to `width.wanted`, the best first.

        Args:
            prompts: N of one length, at least one token.
            lengths: see `Lengths`.
            width: see `Width`.
            settings: of the rules that look at the text so far; the others have no meaning here.
            ended: tells whether generated tokens end the text, as those with a stop string do; None where
                only the end of the document does.
            memory: what the network's encoder made of N sources, see `DecodingNetwork.encoded`.

        Raises:
            InputError: the text would be longer than the model's context, or the logits are not finite.
        """
        tokens = np.array(prompts, np.int32)
        count, first = tokens.shape
        longest = first + int(max(lengths.most))
        self._check(count, first, longest, width)
        jit = self._network.jit  # Few sizes: each of them is compiled.
        cache_size = (cache_size_for(self._network.model, longest) if jit else None) or longest
        matrices = self._network.matrices.made()
        begins = np.zeros(count, np.int32)
        state = self._network.prefilled(tokens[:, :-1], begins, cache_size, matrices)
        self._ended = ended
        best = self._search(
            tf.constant(tokens), Lengths(*(tf.constant(part, tf.int32) for part in lengths)),
            Width(*map(tf.constant, (width.beams, float(width.length_penalty), width.wanted))),
            tf.constant(ended is not None), settings, {} if memory is None else memory, state, matrices,
        )  # fmt: skip
        if not np.isfinite(best.nats.numpy()).all():
            raise InputError(NOT_FINITE)
        return [
            hypotheses_of(first, *row) for row in zip(*(part.numpy()[:, : width.wanted] for part in best))
        ]

    def _check(self, count: int, first: int, longest: int, width: Width) -> None:
        """Raise InputError unless texts of a length can be searched for."""
        vocabulary, most = len(self._allowed), self._network.model.context_length
        if count * width.beams * max(longest, vocabulary) > MAX_NUMBERS:
            raise InputError(
                f"num_beams={width.beams} of up to {longest:,} tokens, and {vocabulary:,} in the"
                f" vocabulary, are more numbers than the {MAX_NUMBERS:,} that are held at once; take fewer"
                " beams or max_new_tokens"
            )
        if most is not None and longest > most + 1:  # The last token is never fed.
            raise InputError(
                f"num_beams={width.beams} with {first:,} tokens of prompt and"
                f" max_new_tokens={longest - first} reaches beyond the {most:,} tokens that the model looks"
                " back on; take fewer of either"
            )

    def _have_ended(self, texts: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Tell which texts [n, 2 K, l] have ended, [n, 2 K] bool; those that do not exist may have tokens
        that do not.
        """
        flat = zip(texts.reshape(-1, texts.shape[-1]).tolist(), sums.ravel())
        ended = [total > IMPOSSIBLE / 2 and self._ended(text) for text, total in flat]
        return np.array(ended, bool).reshape(sums.shape)

    def _search_from(
        self,
        prompts: tf.Tensor,
        lengths: Lengths,
        width: Width,
        asks: tf.Tensor,
        settings: rules.RuleSettings,
        memory: Memory,
        state: State,
        matrices: list[tf.Tensor],
    ) -> Beams:
        """Return the K best texts of each prompt that have ended, the best first."""
        count, first = tf.unstack(tf.shape(prompts))
        beams, longest = width.beams, first + tf.reduce_max(lengths.most)
        tokens = tf.pad(prompts, [[0, 0], [0, longest - first]])
        tokens = tf.tile(tokens[:, None], [1, beams, 1])
        nats, numbers = tf.zeros([count, beams, longest]), tf.fill([count, beams], IMPOSSIBLE)
        # All beams of a prompt are the same at first: one of them goes on.
        begun = tf.where(tf.range(beams)[None] == 0, tf.zeros([count, 1]), IMPOSSIBLE)
        whole = tf.fill([count, beams], first)
        alive = Beams(tokens, nats, begun, numbers, whole)
        ended = Beams(tokens, nats, numbers, numbers, whole)
        state = rows_of(state, tf.repeat(tf.range(count), beams))
        begins = first if self._apart else tf.cast(prompts[0, 0] == self._begin_id, tf.int32)
        way = self._network.way_of_search()  # Several, however many.

        def penalty(count: tf.Tensor) -> tf.Tensor:
            return tf.pow((5.0 + tf.cast(count, tf.float32)) / 6.0, width.length_penalty)

        def one_more(search: _Search) -> tuple[_Search]:
            length, alive, numbers = search.length, search.alive, search.numbers
            most, least = (tf.gather(part, numbers) for part in lengths)
            token = tf.reshape(tf.gather(alive.tokens, length - 1, axis=2), [-1, 1])
            inputs = {"tokens": token, **({"memory": search.memory} if self._network.memory_specs else {})}
            logits, state = self._network.next_logits(inputs, search.state, matrices, way)  # [n K, V]
            may_end = tf.repeat(length - first >= least, beams)[:, None]
            past = rules.Past(
                tf.reshape(alive.tokens, [-1, longest]), length, first, tf.fill([tf.size(token)], begins)
            )
            candidates, parent = self._candidates(logits, alive, may_end, settings, past)
            scores = candidates.sums / penalty(length + 1 - first)
            candidates = candidates._replace(scores=scores)
            chosen = tf.gather(candidates.tokens, length, axis=2)
            ends = tf.reduce_any(chosen[..., None] == self._ends, -1) | (length + 1 - first >= most)[:, None]
            ends |= self._stopped(asks, candidates, first, length)
            # As transformers does: so one beam is greedy, and ends a text where that is the likeliest.
            aside = ends & (tf.range(tf.shape(ends)[1]) < beams) if self._apart else ends
            best = joined(of_prompts(search.ended, numbers), unless(~aside, candidates))
            best = chosen_of(best, tf.math.top_k(best.scores, beams)[1])
            _, kept = tf.math.top_k(tf.where(ends, 2 * IMPOSSIBLE, candidates.sums), beams)
            alive = chosen_of(unless(ends, candidates), kept)
            # No sum rises any more: this is what the best of them can still come to.
            divisor = penalty(tf.where(width.length_penalty > 0, most, length + 2 - first))
            goes_on = tf.reduce_max(alive.sums, 1) / divisor > tf.gather(
                best.scores, width.wanted - 1, axis=1
            )
            goes_on &= (tf.reduce_max(alive.sums, 1) > IMPOSSIBLE / 2) & (length + 1 - first < most)
            (on,) = tf.unstack(tf.cast(tf.where(goes_on), tf.int32), num=1, axis=1)
            rows = tf.range(tf.size(numbers))[:, None] * beams + tf.gather(parent, kept, batch_dims=1)
            after = _Search(
                length + 1,
                tf.gather(numbers, on),
                of_prompts(alive, on),
                replaced(search.ended, numbers, best),
                rows_of(search.memory, on),
                rows_of(state, tf.reshape(tf.gather(rows, on), [-1])),
            )
            return (after,)

        begun = _Search(first, tf.range(count), alive, ended, memory, state)
        some = Beams(*[tf.TensorShape([None, None, None])] * 2, *[tf.TensorShape([None, None])] * 3)
        parts = self._network.memory_specs, self._network.state_specs
        shapes = tf.nest.map_structure(lambda spec: spec.shape, parts)
        shapes = _Search(tf.TensorShape([]), tf.TensorShape([None]), some, some, *shapes)
        (found,) = tf.while_loop(
            lambda search: tf.size(search.numbers) > 0, one_more, [begun], shape_invariants=[shapes]
        )
        return found.ended

    def _candidates(
        self,
        logits: tf.Tensor,
        alive: Beams,
        may_end: tf.Tensor,
        settings: rules.RuleSettings,
        past: rules.Past,
    ) -> tuple[Beams, tf.Tensor]:
        """Return the 2 K best ways to go on of each prompt, and the beam [n, 2 K] that each of them goes on.

        Args:
            logits: [n K, V].
            alive: the texts so far, [n, K, ...].
            may_end: [n K, 1] bool.
            settings, past: of the rules.
        """
        count, beams = tf.unstack(tf.shape(alive.sums))
        width = tf.shape(logits)[1]
        is_end = tf.reduce_any(tf.range(width)[:, None] == self._ends, 1)
        allowed = self._allowed & (may_end | ~is_end)
        ruled = rules.adjusted(tf.where(allowed, logits, rules.REJECTED), settings, past)
        own = tf.reduce_logsumexp(logits, -1, keepdims=True)
        left = own if self._apart else tf.reduce_logsumexp(ruled, -1, keepdims=True)
        # Of each text no more than that can be among the best of its prompt.
        each = tf.minimum(2 * beams, width)
        values, ids = tf.math.top_k(ruled, each)  # [n K, each]
        sums = alive.sums[..., None] + tf.reshape(tf.maximum(values - left, IMPOSSIBLE), [count, beams, each])
        best, place = tf.math.top_k(tf.reshape(sums, [count, -1]), tf.minimum(2 * beams, beams * each))
        parent = place // each
        chosen = tf.gather(tf.reshape(ids, [count, -1]), place, batch_dims=1)
        rows = tf.range(count)[:, None] * beams + parent
        nats = tf.gather_nd(logits, tf.stack([rows, chosen], -1)) - tf.gather(own[:, 0], rows)
        here = tf.range(tf.shape(alive.tokens)[2]) == past.length
        tokens, earlier = (tf.gather(part, parent, batch_dims=1) for part in alive[:2])
        found = Beams(
            tf.where(here, chosen[..., None], tokens),
            tf.where(here, nats[..., None], earlier),
            best,
            best,
            tf.fill(tf.shape(place), past.length + 1),
        )
        return found, parent

    def _stopped(self, asks: tf.Tensor, candidates: Beams, first: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Tell which candidates [n, 2 K] hold what ends a text, where that is asked."""

        def asked() -> tf.Tensor:
            texts = candidates.tokens[:, :, first : length + 1]
            found = tf.numpy_function(self._have_ended, [texts, candidates.sums], tf.bool)
            return tf.ensure_shape(found, [None, None])

        return tf.cond(asks, asked, lambda: tf.zeros_like(candidates.sums, tf.bool))
