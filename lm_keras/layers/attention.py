"""Scaled dot-product attention, whole or in chunks of queries, and a cache of keys and values.

Shapes: B rows, T queries, S keys (those of earlier tokens included), H heads of queries, K heads of keys and
values, each for H / K heads of queries, d width of a head.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from lm_keras.layers.attention_mask import AttentionMask, Index
from lm_keras.layers.chunks import ChunkGroup, chunk_by_chunk, groups_of
from lm_keras.layers.fused import fused, single

Scalar = float | tf.Tensor
"""A number that may be known only when a graph runs, a scalar float32 then."""

Keep = Callable[[Index, int, int], tf.Tensor]
"""`keep(begin, count, keys)` says which weights of `count` queries from `begin` on dropout keeps, [B, H,
count, keys] bool; the same whenever it is called.
"""


class Cache(NamedTuple):
    """Keys and values of the tokens so far, [B, K, L, d] each in the compute dtype: room for L tokens."""

    keys: tf.Tensor
    values: tf.Tensor

    def extended(self, keys: tf.Tensor, values: tf.Tensor, first: Index) -> "Cache":
        """Return it with keys and values [B, K, T, d] from place `first` on."""
        return Cache(_written(self.keys, keys, first), _written(self.values, values, first))


def _written(cache: tf.Tensor, new: tf.Tensor, first: Index) -> tf.Tensor:
    """Put `new` [B, K, T, d] into a cache [B, K, L, d] from place `first` on; its memory is used again where
    possible.
    """
    end = first + tf.shape(new)[2]
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=cache,
        begin=tf.stack([0, 0, first, 0]),
        end=tf.stack([0, 0, end, 0]),
        strides=[1, 1, 1, 1],
        value=new,
        begin_mask=0b1011,
        end_mask=0b1011,
    )


def attention(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    attention_mask: AttentionMask,
    chunk: int | None = None,
    keep: Keep | None = None,
    rate: Scalar = 0.0,
) -> tf.Tensor:
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


def attention_beside(
    earlier_keys: tf.Tensor,
    earlier_values: tf.Tensor,
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    attention_mask: AttentionMask,
) -> tf.Tensor:
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
    scores = tf.matmul(scaled, single(earlier_keys), transpose_b=True) + bias
    own = tf.reduce_sum(single(keys) * scaled, -1, keepdims=True)
    highest = tf.maximum(tf.reduce_max(scores, -1, keepdims=True), own)
    powers, own_power = tf.exp(scores - highest), tf.exp(own - highest)
    sums = tf.matmul(powers, single(earlier_values)) + own_power * single(values)
    mixed = sums / (tf.reduce_sum(powers, -1, keepdims=True) + own_power)
    return tf.cast(tf.reshape(mixed, tf.shape(queries)), queries.dtype)


def _whole(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    attention_mask: AttentionMask,
    chunk: int | None,
    keep: Keep | None,
    factor: Scalar,
) -> tf.Tensor:
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


def _in_chunks(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    attention_mask: AttentionMask,
    chunk: int,
    keep: Keep | None,
    factor: Scalar,
) -> tf.Tensor:
    time = queries.shape[2]
    groups = groups_of(time, chunk, attention_mask.causal)

    def weights_of(
        group: ChunkGroup, begin: Index, own: tf.Tensor, keys: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
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


def _length(heads: tf.Tensor) -> Index:
    """Return T of [B, H, T, d]."""
    return heads.shape[2] or tf.shape(heads)[2]


def _grouped(queries: tf.Tensor, heads: int) -> tf.Tensor:
    """Return [B, H, T, n] as [B, K, H / K T, n]: the queries that share keys side by side."""
    if queries.shape[1] == heads:
        return queries
    return tf.reshape(queries, [tf.shape(queries)[0], heads, -1, queries.shape[-1] or tf.shape(queries)[-1]])


def _apart(grouped: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Return [B, K, H / K T, n] as [B, H, T, n], with the B, H and T of `like`."""
    if grouped.shape[1] == like.shape[1]:
        return grouped
    shape = tf.shape(like)
    width = grouped.shape[-1] or tf.shape(grouped)[-1]
    return tf.reshape(grouped, [shape[0], like.shape[1], shape[2], width])


def _weights(queries: tf.Tensor, keys: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return softmax(q k + bias), [B, H, T, S] in the dtype of the products, for queries that are scaled
    already.
    """
    scores = tf.matmul(_grouped(queries, keys.shape[1]), keys, transpose_b=True)
    return _softmax(_apart(scores, queries), bias)


@fused
def _softmax(scores: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    scores_and_bias = single(scores) + bias
    powers = tf.exp(scores_and_bias - tf.reduce_max(scores_and_bias, -1, keepdims=True))
    return tf.cast(powers / tf.reduce_sum(powers, -1, keepdims=True), scores.dtype)


@fused
def _softmax_gradient(
    weights: tf.Tensor, d_weights: tf.Tensor, outputs: tf.Tensor, d_outputs: tf.Tensor
) -> tf.Tensor:
    """Return the gradient of the scores.

    The sum over the keys of a weight times its gradient is that of the outputs times theirs (Dao et al.,
    2022, section B.2), which has d terms instead of S.
    """
    along = tf.reduce_sum(single(outputs) * single(d_outputs), -1, keepdims=True)
    return tf.cast(single(weights) * (single(d_weights) - along), weights.dtype)


def _dropped(weights: tf.Tensor, kept: tf.Tensor | None, factor: Scalar) -> tf.Tensor:
    if kept is None:
        return weights
    return tf.where(kept, weights * tf.cast(factor, weights.dtype), tf.zeros([], weights.dtype))


def _mean(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Return [B, H, T, d]: weights [B, H, T, S] times values [B, K, S, d]."""
    return _apart(tf.matmul(_grouped(weights, values.shape[1]), values), weights)


def _gradients(
    weights: tf.Tensor,
    kept: tf.Tensor | None,
    factor: Scalar,
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    outputs: tf.Tensor,
    d_outputs: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
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
