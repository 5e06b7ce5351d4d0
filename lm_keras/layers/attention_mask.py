"""Attention masks: which keys each query sees.

Shapes: B rows, T queries, S keys (those of earlier tokens included).
"""

import dataclasses

import tensorflow as tf

UNSEEN = -1e9
"""Added to a score that a query must not see: its share of the softmax is exactly 0 in float32."""

Index = int | tf.Tensor
"""A number that may be known only when a graph runs, a scalar int32 then."""


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

    def bias(self, begin: Index, count: Index, keys: Index) -> tf.Tensor:
        """Return what is added to the scores of `count` queries from `begin` on: 0 or `UNSEEN`, [1 or B, 1,
        count, keys].

        Example: with 2 queries behind 1 key that was there before, `AttentionMask(1).bias(0, 2, 3)` is

            [[0, 0, -1e9],
             [0, 0,  0  ]]

        Whoever asks for the same again, as the blocks of a network do, gets the same tensor.
        """
        asked = (begin, count, keys)
        if not all(isinstance(number, int) for number in asked):
            return self._bias(*asked)
        if asked not in self._made:
            with tf.control_dependencies(None):  # It waits for nobody's turn.
                self._made[asked] = self._bias(*asked)
        return self._made[asked]

    def _bias(self, begin: Index, count: Index, keys: Index) -> tf.Tensor:
        positions = self.first_query + begin + tf.range(count)  # [T] of the queries
        seen = (
            tf.range(keys)[None] <= positions[:, None] if self.causal else tf.ones([count, keys], bool)
        )  # [T, S]
        if self.valid_keys is not None:
            seen &= tf.range(keys) < self.valid_keys
        by_row = []  # [B, T, S] each
        if self.order is not None:
            by_row.append(self.order[:, None, :keys] <= self.order[:, begin : begin + count, None])
        if self.row_begins is not None:
            by_row.append(tf.range(keys) >= self.row_begins[:, None, None])
        if self.query_documents is not None:
            queries = tf.gather(self.query_documents, begin + tf.range(count), axis=1)
            by_row.append(queries[..., None] == self.key_documents[:, None, :keys])
        for seen_in_row in by_row:
            seen &= seen_in_row
        bias = tf.where(seen, 0.0, UNSEEN)
        return bias[:, None] if by_row else bias[None, None]
