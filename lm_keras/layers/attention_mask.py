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
class Sight:
    """Which keys each query sees: those of its own and of earlier places, or of all, and of its own document.

    Attributes:
        first: place of the first query among the keys, an integer or a scalar int32.
        queries: [B, T] int32, number of the document of each query; None where there is one document only.
        keys: [B, S] int32, likewise of the keys.
        causal: whether later places are hidden.
        begins: [B] int32, the first place of each row that is seen at all; None for 0.
        ends: the place from which on no key is there yet, an integer or a scalar int32; None for S.
        order: [B, T] int32, of queries that are their own keys: a query sees keys whose order is not above
            its own; None for any.
    """

    first: int | tf.Tensor = 0
    queries: tf.Tensor | None = None
    keys: tf.Tensor | None = None
    begins: tf.Tensor | None = None
    causal: bool = True
    ends: int | tf.Tensor | None = None
    order: tf.Tensor | None = None
    _made: dict = dataclasses.field(default_factory=dict, init=False, repr=False)

    def bias(self, begin: Index, count: Index, keys: Index) -> tf.Tensor:
        """Return what is added to the scores of `count` queries from `begin` on: 0 or `UNSEEN`, [1 or B, 1,
        count, keys].

        Example: with 2 queries behind 1 key that was there before, `Sight(1).bias(0, 2, 3)` is

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
        places = self.first + begin + tf.range(count)  # [T] of the queries
        seen = (
            tf.range(keys)[None] <= places[:, None] if self.causal else tf.ones([count, keys], bool)
        )  # [T, S]
        if self.ends is not None:
            seen &= tf.range(keys) < self.ends
        if self.order is not None:
            seen &= self.order[:, None, :keys] <= self.order[:, begin : begin + count, None]  # [B, T, S]
            return tf.where(seen, 0.0, UNSEEN)[:, None]
        if self.begins is not None:
            seen &= tf.range(keys) >= self.begins[:, None, None]  # [B, T, S]
            return tf.where(seen, 0.0, UNSEEN)[:, None]
        if self.queries is None:
            return tf.where(seen, 0.0, UNSEEN)[None, None]
        queries = tf.gather(self.queries, begin + tf.range(count), axis=1)
        same = queries[..., None] == self.keys[:, None, :keys]  # [B, T, S]
        return tf.where(seen & same, 0.0, UNSEEN)[:, None]
