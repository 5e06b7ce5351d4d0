"""Scaled dot-product attention, whole or in chunks of queries, and rotary positions.

Shapes: B rows, T queries, S keys (those of earlier tokens included), H heads of queries, K heads of keys and
values, each for H / K heads of queries, d width of a head.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from lm_keras.layers.chunks import chunk_by_chunk, groups_of
from lm_keras.layers.fused import fused, single

UNSEEN = -1e9
"""Added to a score that a query must not see: its share of the softmax is exactly 0 in float32."""


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionMask:
    """Which keys each query sees: those of its own and of earlier positions, or of all, and of its own
    document.

    Attributes:
        first_query: position of the first query among the keys, an integer or a scalar int32.
        query_documents: [B, T] int32, number of the document of each query; None where there is one document
            only.
        key_documents: [B, S] int32, likewise of the keys.
        causal: whether later positions are hidden.
        row_begins: [B] int32, the first position of each row that is seen at all; None for 0.
        valid_keys: number of keys that are there, an integer or a scalar int32; None for S.
        order: [B, T] int32, of queries that are their own keys: a query sees keys whose order is not above
            its own; None for any.
    """

    first_query: int | tf.Tensor = 0
    query_documents: tf.Tensor | None = None
    key_documents: tf.Tensor | None = None
    row_begins: tf.Tensor | None = None
    causal: bool = True
    valid_keys: int | tf.Tensor | None = None
    order: tf.Tensor | None = None
    _made: dict = dataclasses.field(default_factory=dict, init=False, repr=False)

    def bias(self, begin: int, count, keys):
        """Return what is added to the scores of `count` queries from `begin` on: 0 or `UNSEEN`, [1 or B, 1,
        count, keys].

        Example: with 2 queries behind 1 key that was there before, `AttentionMask(1).bias(0, 2, 3)` is

            [[0, 0, -1e9],
             [0, 0,  0  ]]

        The same arguments give the same tensor, so the blocks of a network share it.
        """
        asked = (begin, count, keys)
        if not all(isinstance(number, int) for number in asked):
            return self._bias(*asked)
        if asked not in self._made:
            with tf.control_dependencies(None):  # It waits for nobody's turn.
                self._made[asked] = self._bias(*asked)
        return self._made[asked]

    def _bias(self, begin, count, keys):
        positions = self.first_query + begin + tf.range(count)  # [T] of the queries
        seen = (
            tf.range(keys)[None] <= positions[:, None] if self.causal else tf.ones([count, keys], bool)
        )  # [T, S]
        if self.valid_keys is not None:
            seen &= tf.range(keys) < self.valid_keys
        if self.order is not None:
            seen &= self.order[:, None, :keys] <= self.order[:, begin : begin + count, None]  # [B, T, S]
            return tf.where(seen, 0.0, UNSEEN)[:, None]
        if self.row_begins is not None:
            seen &= tf.range(keys) >= self.row_begins[:, None, None]  # [B, T, S]
            return tf.where(seen, 0.0, UNSEEN)[:, None]
        if self.query_documents is None:
            return tf.where(seen, 0.0, UNSEEN)[None, None]
        queries = tf.gather(self.query_documents, begin + tf.range(count), axis=1)
        same = queries[..., None] == self.key_documents[:, None, :keys]  # [B, T, S]
        return tf.where(seen & same, 0.0, UNSEEN)[:, None]


Keep = Callable[[int | tf.Tensor, int, int], tf.Tensor]
"""`keep(begin, count, keys)` says which weights of `count` queries from `begin` on dropout keeps, [B, H,
count, keys] bool; the same whenever it is called.
"""


def attention(
    queries,
    keys,
    values,
    attention_mask: AttentionMask,
    chunk: int | None = None,
    keep: Keep | None = None,
    rate=0.0,
):
    """Return for each query the mean of the values, weighted by softmax(q k / sqrt(d)).

    Args:
        queries: [B, H, T, d].
        keys, values: [B, K, S, d], H a multiple of K.
        attention_mask: which keys a query sees; one at least.
        chunk: queries whose weights exist at a time; without it all [B, H, T, S] of them. T and S have to be
            known when traced, and the keys are those of the queries.
        keep: dropout of the weights; None for none.
        rate: share that it drops.

    Returns:
        [B, H, T, d], in the dtype of the queries, as the weights are; between scores and weights everything
        is float32.

    Reference: Vaswani et al. (2017), equation 1; grouped queries: Ainslie et al. (2023), section 2.2; in
    chunks: Rabe and Staats (2021), with a gradient that computes the weights of a chunk again, as in Dao et
    al. (2022), section 3.1.
    """
    time = queries.shape[2]
    whole = chunk is None or (time is not None and time <= chunk)
    scaled = queries * tf.cast(queries.shape[-1] ** -0.5, queries.dtype)
    factor = 1.0 / (1.0 - rate)
    compute = _whole if whole else _in_chunks
    return compute(scaled, keys, values, attention_mask, chunk, keep, factor)


def attention_beside(earlier_keys, earlier_values, queries, keys, values, attention_mask: AttentionMask):
    """Return what `attention` does for one query a row, whose own key and value are not among the earlier
    ones.

    Within a program of XLA's, which cannot write into what it is given and would copy all slots to add one
    to them.

    Args:
        earlier_keys, earlier_values: [B, K, S, d], of which the first `attention_mask.first_query` are there.
        queries: [B, H, 1, d].
        keys, values: [B, K, 1, d], of the same tokens as the queries.
        attention_mask: which of the earlier keys a query sees; it sees its own.

    Returns:
        [B, H, 1, d], in the dtype of the queries; all between is float32.
    """
    rows, heads = tf.shape(queries)[0], keys.shape[1]
    grouped = [rows, heads, queries.shape[1] // heads, queries.shape[-1]]  # [B, K, H / K, d]
    scaled = tf.reshape(single(queries), grouped) * queries.shape[-1] ** -0.5
    bias = dataclasses.replace(attention_mask, valid_keys=attention_mask.first_query).bias(
        0, 1, tf.shape(earlier_keys)[2]
    )
    # Scores of earlier keys [B, K, H / K, S], and of the own one [B, K, H / K, 1].
    scores = tf.reduce_sum(single(earlier_keys)[:, :, None] * scaled[..., None, :], -1) + bias
    own = tf.reduce_sum(single(keys) * scaled, -1, keepdims=True)
    highest = tf.maximum(tf.reduce_max(scores, -1, keepdims=True), own)
    powers, own_power = tf.exp(scores - highest), tf.exp(own - highest)
    sums = tf.reduce_sum(powers[..., None] * single(earlier_values)[:, :, None], -2)
    sums += own_power * single(values)
    mixed = sums / (tf.reduce_sum(powers, -1, keepdims=True) + own_power)
    return tf.cast(tf.reshape(mixed, tf.shape(queries)), queries.dtype)


def _whole(queries, keys, values, attention_mask, chunk, keep, factor):
    del chunk

    @tf.custom_gradient
    def attend(queries, keys, values):
        count, seen = _length(queries), _length(keys)
        bias = attention_mask.bias(0, count, seen)
        kept = None if keep is None else keep(0, count, seen)
        weights = _weights(queries, keys, bias)
        outputs = _mean(_dropped(weights, kept, factor), values)

        def gradient(d_outputs):
            return _gradients(weights, kept, factor, queries, keys, values, outputs, d_outputs)

        return outputs, gradient

    return attend(queries, keys, values)


def _in_chunks(queries, keys, values, attention_mask, chunk, keep, factor):
    time = queries.shape[2]
    groups = groups_of(time, chunk, attention_mask.causal)

    def weights_of(group, begin, own, keys):
        """Return the weights of a chunk, and which of them dropout keeps."""
        kept = None if keep is None else keep(begin, group.size, group.seen)
        return _weights(own, keys, attention_mask.bias(begin, group.size, group.seen)), kept

    @tf.custom_gradient
    def attend(queries, keys, values):
        outputs = []
        for group in groups:

            def outputs_of(begin, own, keys, values, group=group):
                weights, kept = weights_of(group, begin, own, keys)
                return [_mean(_dropped(weights, kept, factor), values)]

            with tf.control_dependencies(outputs[-1:]):  # One after the other, or all would be there at once.
                own, seen = tf.identity(queries), [keys[:, :, : group.seen], values[:, :, : group.seen]]
            outputs += chunk_by_chunk(group, outputs_of, [own], seen, [])
        outputs = tf.concat(outputs, 2)

        def gradient(d_outputs):
            d_queries, d_keys, d_values = [], tf.zeros_like(keys), tf.zeros_like(values)
            after = [d_outputs]
            for group in groups:

                def gradients_of(begin, own, outputs, d_outputs, keys, values, group=group):
                    weights, kept = weights_of(group, begin, own, keys)
                    return _gradients(weights, kept, factor, own, keys, values, outputs, d_outputs)

                with tf.control_dependencies(after):
                    all_queries = tf.identity(queries)
                seen = [keys[:, :, : group.seen], values[:, :, : group.seen]]
                by_query, sums = [all_queries, outputs, d_outputs], [tf.zeros_like(part) for part in seen]
                d_own, d_k, d_v = chunk_by_chunk(group, gradients_of, by_query, seen, sums)
                beyond = [[0, 0], [0, 0], [0, time - group.seen], [0, 0]]
                d_queries.append(d_own)
                d_keys, d_values = d_keys + tf.pad(d_k, beyond), d_values + tf.pad(d_v, beyond)
                after = [d_own, d_keys, d_values]
            return tf.concat(d_queries, 2), d_keys, d_values

        return outputs, gradient

    return attend(queries, keys, values)


def _length(heads):
    """Return T of [B, H, T, d]."""
    return heads.shape[2] or tf.shape(heads)[2]


def _grouped(queries, heads: int):
    """Return [B, H, T, n] as [B, K, H / K T, n]: the queries that share keys side by side."""
    if queries.shape[1] == heads:
        return queries
    return tf.reshape(queries, [tf.shape(queries)[0], heads, -1, queries.shape[-1] or tf.shape(queries)[-1]])


def _apart(grouped, like):
    """Return [B, K, H / K T, n] as [B, H, T, n], with the B, H and T of `like`."""
    if grouped.shape[1] == like.shape[1]:
        return grouped
    shape = tf.shape(like)
    width = grouped.shape[-1] or tf.shape(grouped)[-1]
    return tf.reshape(grouped, [shape[0], like.shape[1], shape[2], width])


def _weights(queries, keys, bias):
    """Return softmax(q k + bias), [B, H, T, S] in the dtype of the products, for queries that are scaled
    already.
    """
    scores = tf.matmul(_grouped(queries, keys.shape[1]), keys, transpose_b=True)
    return _softmax(_apart(scores, queries), bias)


@fused
def _softmax(scores, bias):
    scores_and_bias = single(scores) + bias
    powers = tf.exp(scores_and_bias - tf.reduce_max(scores_and_bias, -1, keepdims=True))
    return tf.cast(powers / tf.reduce_sum(powers, -1, keepdims=True), scores.dtype)


@fused
def _softmax_gradient(weights, d_weights, outputs, d_outputs):
    """Return the gradient of the scores.

    The sum over the keys of a weight times its gradient is that of the outputs times theirs (Dao et al.,
    2022, section B.2), which has d terms instead of S.
    """
    along = tf.reduce_sum(single(outputs) * single(d_outputs), -1, keepdims=True)
    return tf.cast(single(weights) * (single(d_weights) - along), weights.dtype)


def _dropped(weights, kept, factor):
    return (
        weights
        if kept is None
        else tf.where(kept, weights * tf.cast(factor, weights.dtype), tf.zeros([], weights.dtype))
    )


def _mean(weights, values):
    """Return [B, H, T, d]: weights [B, H, T, S] times values [B, K, S, d]."""
    return _apart(tf.matmul(_grouped(weights, values.shape[1]), values), weights)


def _gradients(weights, kept, factor, queries, keys, values, outputs, d_outputs):
    """Return the gradients of queries, keys and values."""
    heads = keys.shape[1]
    grouped = _grouped(d_outputs, heads)
    dropped = _dropped(weights, kept, factor)
    d_values = tf.matmul(_grouped(dropped, heads), grouped, transpose_a=True)
    d_weights = _apart(tf.matmul(grouped, values, transpose_b=True), weights)
    d_scores = _softmax_gradient(weights, _dropped(d_weights, kept, factor), outputs, d_outputs)
    d_scores = _grouped(d_scores, heads)
    d_queries = _apart(tf.matmul(d_scores, keys), queries)
    d_keys = tf.matmul(d_scores, _grouped(queries, heads), transpose_a=True)
    return d_queries, d_keys, d_values


def rotations(positions, width: int, base: float):
    """Return cosines and sines [..., width / 2] of the angles by which queries and keys at some positions are
    turned.

    Args:
        positions: [...] int32.
        width: d, of a head; even.
        base: the angles are position * base^(-2 i / d) for i = 0 ... d / 2 - 1.

    Reference: Su et al. (2021), equation 15.
    """
    frequencies = base ** (-2.0 * tf.range(width // 2, dtype=tf.float32) / width)
    angles = tf.cast(positions, tf.float32)[..., None] * frequencies
    return tf.cos(angles), tf.sin(angles)


def rotated(heads, cosines, sines):
    """Turn each pair of numbers (i, i + d / 2) of a head by its angle; the pairs are those of LLaMA's
    weights.

    Args:
        heads: [B, H, T, d].
        cosines, sines: [1 or B, T, d / 2].

    Returns:
        [B, H, T, d], in the dtype of the heads; the turn itself is in float32.
    """
    dtype = heads.dtype
    first, second = tf.split(tf.cast(heads, tf.float32), 2, axis=-1)
    cosines, sines = cosines[:, None], sines[:, None]  # [B, 1, T, d / 2]
    turned = [first * cosines - second * sines, second * cosines + first * sines]
    return tf.cast(tf.concat(turned, -1), dtype)
