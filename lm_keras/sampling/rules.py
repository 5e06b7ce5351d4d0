"""From logits to a token: temperature, top-k, top-p, and one uniform number a row.

B batch, V vocabulary, K tokens that are still in the race. Every setting is a scalar tensor, so none of them
is part of a compiled function: changing it does not retrace.

A new rule works on logits that are sorted from the likeliest token down, and sets what it rejects to -inf:

    def min_p(logits, settings):
        probabilities = tf.nn.softmax(logits)  # [B, K]
        return tf.where(probabilities >= settings.min_p * probabilities[:, :1], logits, REJECTED)

Then it needs its field in `RuleSettings`, its name in `SORTED_RULES` and its term in `is_narrow`.
"""

from typing import NamedTuple

import tensorflow as tf

REJECTED = float("-inf")

_COLDEST = 1e-6  # Below it a float32 quotient may overflow; the distribution is one token long before.


class RuleSettings(NamedTuple):
    """The settings of the rules as scalar tensors; see `SamplingSettings` for their meaning."""

    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor

    @classmethod
    def of(cls, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> "RuleSettings":
        """Return Python numbers as the tensors that `choose` takes."""
        # Divided by infinity, a rejected logit would become NaN.
        hottest = min(temperature, float(tf.float32.max))
        return cls(
            tf.constant(hottest, tf.float32), tf.constant(top_k, tf.int32), tf.constant(top_p, tf.float32)
        )

    @classmethod
    def signature(cls) -> "RuleSettings":
        """Return the `tf.TensorSpec` of every field."""
        return cls(tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32))


def choose(logits: tf.Tensor, uniform: tf.Tensor, settings: RuleSettings, allowed: tf.Tensor) -> tf.Tensor:
    """Choose one token a row.

    Args:
        logits: [B, V] float32.
        uniform: [B] float32 in [0, 1), the one random number of each row.
        settings: scalar tensors.
        allowed: [V] bool; a token that is not allowed is never chosen.

    Returns:
        [B] int32.

    Example:
        >>> logits = tf.math.log([[0.5, 0.3, 0.2]] * 3)
        >>> choose(logits, tf.constant([0.4, 0.7, 0.9]), RuleSettings.of(), [True] * 3).numpy()
        array([0, 1, 2], dtype=int32)
    """
    logits = tf.where(allowed, logits, REJECTED)
    scaled = with_temperature(logits, settings.temperature)
    scaled = tf.cond(is_narrow(settings), lambda: narrow(scaled, settings), lambda: scaled)
    return tf.where(settings.temperature > 0, sample(scaled, uniform), greedy(logits))


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
    return tf.where(tf.reduce_any(passed, axis=-1), _first(passed), greedy(logits))


def is_narrow(settings: RuleSettings) -> tf.Tensor:
    """Return whether any rule that needs sorted logits is on, as a bool scalar."""
    return (settings.temperature > 0) & ((settings.top_k > 0) | (settings.top_p < 1))


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


SORTED_RULES = (top_p,)
"""The rules that see sorted logits, in the order in which they apply."""


def _first(mask: tf.Tensor) -> tf.Tensor:
    """Return the index of the first True of each row, and the last index for a row that has none."""
    last = tf.shape(mask)[-1] - 1
    return tf.reduce_min(tf.where(mask, tf.range(last + 1), last), axis=-1)
