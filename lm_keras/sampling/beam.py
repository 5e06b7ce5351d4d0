"""Beam search: the texts that a model finds likeliest, as far as a search of limited width sees them.

K beams, V vocabulary, L longest text.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.sampling import rules
from lm_keras.sampling.network import DecodingNetwork, State, cache_size_for

MAX_NUMBERS = 2**26
"""Tokens of all beams, and logits of all beams at a step: 256 MiB each, and there are several of them."""

IMPOSSIBLE = -1e30
"""Score of a hypothesis that does not exist."""


class Hypothesis(NamedTuple):
    """A text that was found.

    Attributes:
        token_ids: what follows the prompt, with the token that ended it.
        log_probabilities: of each of these tokens under the model's own distribution, in nats.
        score: by which it is ranked: their sum, with the rules that are on, over the length penalty.
    """

    token_ids: list[int]
    log_probabilities: list[float]
    score: float


class Beams(NamedTuple):
    """Hypotheses side by side: those that go on, or those that have ended."""

    tokens: tf.Tensor  # [K, L] int32, prompt included
    nats: tf.Tensor  # [K, L] float32, of each generated token
    sums: tf.Tensor  # [K] float32, log-probability with the rules
    scores: tf.Tensor  # [K] float32, over the length penalty
    lengths: tf.Tensor  # [K] int32, of prompt and text


class BeamSearch:
    """Beam search with a network. It is traced once, whatever the prompts, beams, lengths and settings.

    At every step the 2 K best ways to go on from K texts are looked at: those that end the document or hold a
    stop string are set aside, the best K others go on. It ends when no text can become better than the worst
    of the K best that have ended. Whether a text holds a stop string is asked in Python, since it may begin
    and end within tokens.

    Args:
        network: what gives the logits.
        eod_id: the token that ends a document.
        allowed: [V] bool, the tokens that may be chosen.
        begin_id: the token that a document begins with, which the rules do not see; None for `eod_id`.

    Reference: Graves (2012), section 2.1; the length penalty: Wu et al. (2016), equation 14.
    """

    def __init__(
        self,
        network: DecodingNetwork,
        eod_id: int,
        allowed: np.ndarray,
        begin_id: int | None = None,
    ):
        self._network, self._eod_id = network, eod_id
        self._begin_id = eod_id if begin_id is None else begin_id
        self._allowed = tf.constant(allowed, tf.bool)
        self._ended: Callable[[list[int]], bool] | None = None
        number, factor = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)
        self._search = tf.function(
            self._search_from,
            input_signature=[
                tf.TensorSpec([None], tf.int32), number, number, factor, tf.TensorSpec([], tf.bool),
                rules.RuleSettings.signature(), network.state_specs, network.matrices.specs,
            ],
            autograph=False,
        )  # fmt: skip

    @property
    def traces(self) -> int:
        """How often the search was traced: at most once."""
        return self._search.experimental_get_tracing_count()

    def search(
        self,
        prompt: list[int],
        max_new_tokens: int,
        beams: int,
        length_penalty: float,
        settings: rules.RuleSettings,
        ended: Callable[[list[int]], bool] | None = None,
    ) -> list[Hypothesis]:
        """Return up to `beams` texts that follow a prompt, the best first.

        Args:
            prompt: at least one token.
            max_new_tokens: tokens at which a text ends at the latest.
            beams: K.
            length_penalty: alpha of ((5 + n) / 6)^alpha, by which the sum of n log-probabilities is divided.
            settings: of the rules that look at the text so far; the others have no meaning here.
            ended: tells whether generated tokens end the text, as those with a stop string do; None where
                only the end of the document does.

        Raises:
            InputError: the text would be longer than the model's context, or the logits are not finite.
        """
        longest, most = len(prompt) + max_new_tokens, self._network.model.context_length
        if beams * max(longest, len(self._allowed)) > MAX_NUMBERS:
            raise InputError(
                f"num_beams={beams} of up to {longest:,} tokens, and {len(self._allowed):,} in the"
                f" vocabulary, are more numbers than the {MAX_NUMBERS:,} that are held at once; take fewer"
                " beams or max_new_tokens"
            )
        if most is not None and longest > most + 1:  # The last token is never fed.
            raise InputError(
                f"num_beams={beams} with {len(prompt):,} tokens of prompt and max_new_tokens={max_new_tokens}"
                f" reaches beyond the {most:,} tokens that the model looks back on; take fewer of either"
            )
        cache_size = cache_size_for(self._network.model, longest)
        matrices = self._network.matrices.made()
        before = np.array([prompt[:-1]], np.int32), np.zeros(1, np.int32)
        state = self._network.prefilled(*before, cache_size or longest, matrices)
        self._ended = ended
        best = self._search(
            tf.constant(prompt, tf.int32), tf.constant(max_new_tokens), tf.constant(beams),
            tf.constant(length_penalty, tf.float32),
            tf.constant(ended is not None), settings, state, matrices,
        )  # fmt: skip
        found = []
        for tokens, nats, total, score, length in zip(*(part.numpy() for part in best)):
            if total > IMPOSSIBLE / 2:
                text = slice(len(prompt), length)
                found.append(Hypothesis(tokens[text].tolist(), nats[text].tolist(), float(score)))
        if not found or not np.isfinite(best.nats.numpy()).all():
            raise InputError(NOT_FINITE)
        return found

    def _have_ended(self, tokens: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Tell which texts [2 K, n] have ended, [2 K] bool; those that do not exist may have tokens that do
        not.
        """
        return np.array([s > IMPOSSIBLE / 2 and self._ended(t) for t, s in zip(tokens.tolist(), sums)], bool)

    def _search_from(
        self,
        prompt: tf.Tensor,
        max_new_tokens: tf.Tensor,
        beams: tf.Tensor,
        alpha: tf.Tensor,
        asks: tf.Tensor,
        settings: rules.RuleSettings,
        state: State,
        matrices: list[tf.Tensor],
    ) -> Beams:
        """Return the K best texts that have ended, the best first."""
        first, begins = tf.size(prompt), tf.cast(prompt[0] == self._begin_id, tf.int32)
        longest = first + max_new_tokens
        tokens = tf.tile(tf.pad(prompt, [[0, max_new_tokens]])[None], [beams, 1])
        nats, numbers = tf.zeros([beams, longest]), tf.fill([beams], IMPOSSIBLE)
        # All beams are the same at first: one of them goes on.
        begun = tf.where(tf.range(beams) == 0, 0.0, IMPOSSIBLE)
        lengths = tf.fill([beams], first)
        alive = Beams(tokens, nats, begun, numbers, lengths)
        ended = Beams(tokens, nats, numbers, numbers, lengths)
        state = tf.nest.map_structure(lambda part: _rows(part, tf.zeros([beams], tf.int32)), state)

        def penalty(count: tf.Tensor) -> tf.Tensor:
            return tf.pow((5.0 + tf.cast(count, tf.float32)) / 6.0, alpha)

        way = self._network.way(rows=2)  # Several, however many.

        def goes_on(length: tf.Tensor, alive: Beams, ended: Beams, _: State) -> tf.Tensor:
            # No sum rises any more: this is what the best of them can still come to.
            divisor = penalty(tf.where(alpha > 0, max_new_tokens, length - first + 1))
            return (length < longest) & (tf.reduce_max(alive.sums) / divisor > tf.reduce_min(ended.scores))

        def one_more(length: tf.Tensor, alive: Beams, ended: Beams, state: State) -> tuple:
            token = tf.gather(alive.tokens, length - 1, axis=1)
            inputs = {"tokens": token[:, None]}
            logits, state = self._network.next_logits(inputs, state, matrices, way)  # [K, V]
            own = tf.nn.log_softmax(logits)
            past = rules.Past(alive.tokens, length, first, tf.fill([beams], begins))
            ruled = rules.adjusted(tf.where(self._allowed, logits, rules.REJECTED), settings, past)
            sums = alive.sums[:, None] + tf.maximum(tf.nn.log_softmax(ruled), IMPOSSIBLE)
            width = tf.shape(logits)[1]
            best, place = tf.math.top_k(tf.reshape(sums, [-1]), tf.minimum(2 * beams, beams * width))
            parent, chosen = place // width, place % width
            here = tf.range(longest) == length
            candidates = Beams(
                tf.where(here, chosen[:, None], tf.gather(alive.tokens, parent)),
                tf.where(
                    here,
                    tf.gather_nd(own, tf.stack([parent, chosen], 1))[:, None],
                    tf.gather(alive.nats, parent),
                ),
                best,
                best / penalty(length + 1 - first),
                tf.fill(tf.shape(place), length + 1),
            )
            stopped = tf.cond(
                asks,
                lambda: tf.ensure_shape(
                    tf.numpy_function(
                        self._have_ended, [candidates.tokens[:, first : length + 1], best], tf.bool
                    ),
                    [None],
                ),
                lambda: tf.zeros_like(chosen, tf.bool),
            )
            ends = (chosen == self._eod_id) | (length + 1 == longest) | stopped
            ended = _best(_joined(ended, _unless(~ends, candidates)), beams)
            _, kept = tf.math.top_k(tf.where(ends, 2 * IMPOSSIBLE, best), beams)
            alive = tf.nest.map_structure(lambda part: tf.gather(part, kept), _unless(ends, candidates))
            state = tf.nest.map_structure(lambda part: _rows(part, tf.gather(parent, kept)), state)
            return length + 1, alive, ended, state

        some = Beams(*[tf.TensorShape([None, None])] * 2, *[tf.TensorShape([None])] * 3)
        specs = tf.nest.map_structure(lambda spec: spec.shape, self._network.state_specs)
        shapes = [tf.TensorShape([]), some, some, specs]
        _, _, ended, _ = tf.while_loop(
            goes_on, one_more, [first, alive, ended, state], shape_invariants=shapes
        )
        return ended


NOT_FINITE = (
    "the model's logits are not finite, so there is nothing to search; its training has diverged, use an"
    " earlier checkpoint or train with a lower learning rate"
)


def _rows(part: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Choose rows of a part of the state, which it may not have."""
    return tf.gather(part, rows) if part.shape.rank else part


def _joined(some: Beams, others: Beams) -> Beams:
    return Beams(*(tf.concat(parts, 0) for parts in zip(some, others)))


def _unless(gone: tf.Tensor, beams: Beams) -> Beams:
    """Make hypotheses impossible."""
    return beams._replace(
        sums=tf.where(gone, IMPOSSIBLE, beams.sums), scores=tf.where(gone, IMPOSSIBLE, beams.scores)
    )


def _best(some: Beams, count: tf.Tensor) -> Beams:
    _, kept = tf.math.top_k(some.scores, count)
    return Beams(*(tf.gather(part, kept) for part in some))
