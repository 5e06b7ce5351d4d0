"""From logits to a token: penalties, temperature, top-k, top-p, min-p, and one uniform number a row.

B batch, V vocabulary, L length of the text, K tokens that are still in the race. Every setting is a tensor
and no part of a compiled function: changing it does not retrace.

There are two kinds of rules, `past` and `sorted`. `adjusted` changes logits in the order of the vocabulary by
what the text so far is. The others work on logits that are sorted from the likeliest token down, and set what
they reject to -inf:

    def min_p(logits, settings):
        probabilities = tf.nn.softmax(logits)  # [B, K]
        return tf.where(probabilities >= settings.min_p * probabilities[:, :1], logits, REJECTED)

A new one needs its function here, and its setting in `SamplingSettings`, which names the function.
"""

import collections
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lm_keras.fields import kind_of, within_float32
from lm_keras.sampling.settings import RULES

REJECTED = float("-inf")

_COLDEST = 1e-6  # Below it a float32 quotient may overflow; the distribution is one token long before.
_LEAST_PENALTY = 1e-30  # Likewise: a logit of 1e8 may still be divided by it.


class RuleSettings(collections.namedtuple("RuleSettings", RULES)):
    """The sampling settings in `RULES` as tensors; see `SamplingSettings` for their meaning.

    All are scalars but `logit_bias`, [V] or [1].
    """

    __slots__ = ()

    @classmethod
    def of(cls, *values: float, **named: Any) -> "RuleSettings":
        """Return Python numbers as the tensors that `choose` takes; a setting that is left out is off.

        What is above 0 stays so in float32, and what is finite stays finite.

        Args:
            *values: of the first settings, in the order of `RULES`.
            **named: of the others; `logit_bias` is an array [V] or [1].
        """
        given = {**_OFF, **dict(zip(cls._fields, values)), **named}
        numbers = {
            name: within_float32(value) if _SPECS[name] == _NUMBER else value for name, value in given.items()
        }
        return cls(**{name: tf.constant(value, _SPECS[name].dtype) for name, value in numbers.items()})

    @classmethod
    def signature(cls) -> "RuleSettings":
        """Return the `tf.TensorSpec` of every field."""
        return cls(**_SPECS)


_NUMBER, _WHOLE, _TABLE = (
    tf.TensorSpec([], tf.float32),
    tf.TensorSpec([], tf.int32),
    tf.TensorSpec([None], tf.float32),
)
_SPECS = {name: {float: _NUMBER, int: _WHOLE}.get(kind_of(field)[0], _TABLE) for name, field in RULES.items()}
_OFF = {name: np.zeros(1) if _SPECS[name] == _TABLE else field.default for name, field in RULES.items()}


def _is_on(settings: RuleSettings, names: Iterable[str]) -> tf.Tensor:
    """Return whether one of some settings is not the one with which its rule is off, as a bool scalar."""
    return functools.reduce(operator.or_, (getattr(settings, name) != _OFF[name] for name in names))


class Past(NamedTuple):
    """The text so far, which penalties look at.

    Attributes:
        tokens: [B, L] int32; what is there from `length` on does not count.
        length: [] int32.
        prompt_end: [] int32; tokens from this column on were generated.
        begins: [B] int32, the column in which each text begins, behind the token that begins its document.
    """

    tokens: tf.Tensor
    length: tf.Tensor
    prompt_end: tf.Tensor
    begins: tf.Tensor


def choose(
    logits: tf.Tensor,
    uniform: tf.Tensor,
    settings: RuleSettings,
    allowed: tf.Tensor,
    past: Past | None = None,
) -> tf.Tensor:
    """Choose one token a row.

    Args:
        logits: [B, V] float32.
        uniform: [B] float32 in [0, 1), the one random number of each row.
        settings: tensors.
        allowed: [V] bool; a token that is not allowed is never chosen.
        past: the text so far; None if no rule looks at it.

    Returns:
        [B] int32.

    Example:
        >>> logits = tf.math.log([[0.5, 0.3, 0.2]] * 3)
        >>> choose(logits, tf.constant([0.4, 0.7, 0.9]), RuleSettings.of(), [True] * 3).numpy()
        array([0, 1, 2], dtype=int32)
    """
    logits = adjusted(tf.where(allowed, logits, REJECTED), settings, past)

    def sampled() -> tf.Tensor:
        scaled = with_temperature(logits, settings.temperature)
        return sample(tf.cond(is_narrow(settings), lambda: narrow(scaled, settings), lambda: scaled), uniform)

    return tf.cond(settings.temperature > 0, sampled, lambda: greedy(logits))


def adjusted(logits: tf.Tensor, settings: RuleSettings, past: Past | None) -> tf.Tensor:
    """Apply the rules that look at the text so far, and the bias, to logits [B, V]."""
    if past is not None:
        for rule, names in PAST_RULES.items():
            changed = functools.partial(rule, logits, settings, past)
            logits = tf.cond(_is_on(settings, names), changed, lambda: logits)  # noqa: B023 called at once
    return logits + settings.logit_bias


def repetition_penalty(logits: tf.Tensor, settings: RuleSettings, past: Past) -> tf.Tensor:
    """Make every token of the text so far, prompt included, less likely by a factor of its logit.

    A positive logit is divided by the penalty and a negative one multiplied, so that either falls.

    Reference: Keskar et al. (2019), CTRL, section 4.1, which divides; what it does to negative logits is the
    remedy that implementations agree on.
    """
    seen = _counts(past, past.begins[:, None], tf.shape(logits)) > 0
    theta = tf.maximum(settings.repetition_penalty, _LEAST_PENALTY)
    return tf.where(seen, tf.where(logits > 0, logits / theta, logits * theta), logits)


def count_penalties(logits: tf.Tensor, settings: RuleSettings, past: Past) -> tf.Tensor:
    """Subtract the presence penalty of a token that was generated, and the frequency penalty each time.

    Reference: OpenAI's API reference, "frequency and presence penalties"; no paper.
    """
    counts = tf.cast(_counts(past, past.prompt_end, tf.shape(logits)), tf.float32)
    present = tf.cast(counts > 0, tf.float32)
    return logits - settings.presence_penalty * present - settings.frequency_penalty * counts


def no_repeat_ngram(logits: tf.Tensor, settings: RuleSettings, past: Past) -> tf.Tensor:
    """Reject what would complete n tokens in a row that the text so far, prompt included, has already.

    Where that would leave nothing, nothing is rejected.

    Reference: Paulus, Xiong and Socher (2018), section 2.5, with n = 3.
    """
    positions = tf.range(tf.shape(past.tokens)[1])
    # same[b, i]: the n - 1 tokens before position i are the last n - 1 of the text.
    fits = positions - past.begins[:, None] >= settings.no_repeat_ngram - 1  # A whole n-gram.
    same = fits & (positions < past.length)

    def compare(back: tf.Tensor, same: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        before = tf.roll(past.tokens, back, axis=1)  # before[b, i] = tokens[b, i - back]
        last = past.tokens[:, past.length - back, None]
        return back + 1, same & (before == last)

    size = tf.minimum(settings.no_repeat_ngram, past.length)
    _, same = tf.while_loop(
        lambda back, _: back < size,
        compare,
        [tf.constant(1), same],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, None])],
    )
    banned = _scattered(past.tokens, same, tf.shape(logits)) > 0
    left = tf.reduce_any(~banned & (logits > REJECTED), -1, keepdims=True)
    return tf.where(banned & left, REJECTED, logits)


def _counts(past: Past, begin: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Return how often each token is in the text from column `begin` on, [B, V] int32."""
    positions = tf.range(tf.shape(past.tokens)[1])[None]
    counted = (positions >= begin) & (positions < past.length)
    return _scattered(past.tokens, tf.broadcast_to(counted, tf.shape(past.tokens)), shape)


def _scattered(tokens: tf.Tensor, counted: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Count tokens [B, L] where `counted` [B, L], by row: [B, V] int32."""
    positions = tf.where(counted)
    pairs = tf.stack([positions[:, 0], tf.cast(tf.gather_nd(tokens, positions), tf.int64)], 1)
    return tf.scatter_nd(pairs, tf.ones_like(pairs[:, 0], tf.int32), tf.cast(shape, tf.int64))


def greedy(logits: tf.Tensor) -> tf.Tensor:
    """Return the likeliest token of each row [B], of equals the one with the lowest id.

    `tf.argmax` leaves open which of several equal entries it returns.
    """
    return _first(logits == tf.reduce_max(logits, axis=-1, keepdims=True))


def with_temperature(logits: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Divide logits [B, V] by the temperature, with the largest moved to 0 so that none overflows."""
    shifted = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    return shifted / tf.maximum(temperature, _COLDEST)


def sample(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Return for each row the token at which the cumulated probability passes its uniform number.

    Args:
        logits: [B, V] float32.
        uniform: [B] float32 in [0, 1).

    Returns:
        [B] int32. A token of probability 0 is never returned.
    """
    probabilities = tf.nn.softmax(logits)  # [B, V]
    cumulated = tf.cumsum(probabilities, axis=-1)
    passed = cumulated > uniform[:, None] * cumulated[:, -1:]
    # Some devices sum in blocks, and then the sum may rise by a rounding error at a probability of 0.
    passed &= probabilities > 0
    found, first = tf.reduce_any(passed, axis=-1), _first(passed)
    return tf.cond(tf.reduce_all(found), lambda: first, lambda: tf.where(found, first, greedy(logits)))


def is_narrow(settings: RuleSettings) -> tf.Tensor:
    """Return whether any rule that needs sorted logits is on, as a bool scalar."""
    narrowing = [name for name, field in RULES.items() if field.metadata["rule"].kind == "sorted"]
    return (settings.temperature > 0) & _is_on(settings, narrowing)


def narrow(logits: tf.Tensor, settings: RuleSettings) -> tf.Tensor:
    """Set the logits [B, V] that a rule rejects to -inf.

    Top-k is how many are sorted at all; the other rules see the distribution among these. The result is
    in the order of the vocabulary again, so a rule that rejects nothing changes no text.

    Reference: Fan, Lewis and Dauphin (2018), Hierarchical neural story generation, section 5.1 (top-k).
    """
    batch, vocabulary = tf.unstack(tf.shape(logits))
    count = tf.where(settings.top_k > 0, tf.minimum(settings.top_k, vocabulary), vocabulary)
    values, ids = tf.math.top_k(logits, count)  # [B, K]; of equals the lower id comes first
    for rule in SORTED_RULES:
        values = rule(values, settings)
    rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(ids))
    nothing = tf.fill([batch, vocabulary], REJECTED)
    result = tf.tensor_scatter_nd_update(nothing, tf.stack([rows, ids], axis=-1), values)
    return tf.ensure_shape(result, logits.shape)  # [B, V]


def top_p(logits: tf.Tensor, settings: RuleSettings) -> tf.Tensor:
    """Keep the fewest tokens whose probabilities sum to at least p.

    Args:
        logits: [B, K], the largest first.
        settings: scalar tensors.

    Example:
        Probabilities 0.5, 0.3, 0.2 with p = 0.6 keep the first two: the sums before them, 0 and 0.5,
        are below 0.6.

    Reference: Holtzman et al. (2020), The curious case of neural text degeneration, section 3.1.
    """
    before = tf.cumsum(tf.nn.softmax(logits), axis=-1, exclusive=True)
    return tf.where((settings.top_p >= 1) | (before < settings.top_p), logits, REJECTED)


def min_p(logits: tf.Tensor, settings: RuleSettings) -> tf.Tensor:
    """Keep the tokens that are at least p times as likely as the likeliest one.

    Args:
        logits: [B, K], the largest first.
        settings: tensors.

    Reference: Nguyen et al. (2024), Turning up the heat: min-p sampling, section 3.
    """
    probabilities = tf.nn.softmax(logits)
    return tf.where(probabilities >= settings.min_p * probabilities[:, :1], logits, REJECTED)


def _first(mask: tf.Tensor) -> tf.Tensor:
    """Return the index of the first True of each row, and the last index for a row that has none."""
    last = tf.shape(mask)[-1] - 1
    return tf.reduce_min(tf.where(mask, tf.range(last + 1), last), axis=-1)


def _rules(kind: str) -> dict[Callable[..., tf.Tensor], list[str]]:
    """Return the functions of the rules of a kind, each with the settings that switch it on."""
    found: dict[Callable[..., tf.Tensor], list[str]] = {}
    for name, field in RULES.items():
        rule = field.metadata["rule"]
        if rule.kind == kind and rule.function:
            found.setdefault(globals()[rule.function], []).append(name)
    return found


PAST_RULES, SORTED_RULES = _rules("past"), _rules("sorted")
"""The rules that look at the text so far, and those that see sorted logits, in their order."""
