"""From the features of tokens to those of the texts of a row.

B rows, T positions, D width, K texts of a row. The documents of a row have the numbers 0, 1, ... in their
order; positions beyond the last one have a larger number.
"""

import tensorflow as tf

POOLINGS = ("first", "last", "mean", "max")
"""How the features of a text come of those of its tokens."""


def pooled(
    kind: str | None, hidden: tf.Tensor, predicted: tf.Tensor, document: tf.Tensor | None = None
) -> tf.Tensor:
    """Return features of K texts or tokens of each row.

    Args:
        kind: `mean` or `max` of all tokens of a text; others take the token at its place.
        hidden: [B, T, D].
        predicted: [B, K] int32.
        document: [B, T] int32, for `mean` and `max`. Text k is the document k; one without tokens gets zeros.

    Returns:
        [B, K, D], in the dtype of `hidden`.
    """
    if kind not in ("mean", "max"):
        return tf.gather(hidden, predicted, batch_dims=1)
    if document is None:
        raise ValueError(f"pooling {kind} needs the documents of a row")
    count = predicted.shape[1]
    member = tf.one_hot(document, count, axis=1, dtype=tf.float32)  # [B, K, T]
    sizes = tf.reduce_sum(member, axis=2, keepdims=True)  # [B, K, 1]
    if kind == "mean":
        means = tf.matmul(member / tf.maximum(sizes, 1.0), tf.cast(hidden, tf.float32))
        return tf.cast(means, hidden.dtype)
    rows, width = tf.shape(hidden)[0], hidden.shape[-1]
    first = tf.range(rows)[:, None] * (count + 1)  # One segment more for what is beyond the texts.
    segments = tf.reshape(first + tf.minimum(document, count), [-1])
    largest = tf.math.unsorted_segment_max(tf.reshape(hidden, [-1, width]), segments, rows * (count + 1))
    largest = tf.reshape(largest, [-1, count + 1, width])[:, :count]
    largest = tf.ensure_shape(largest, [hidden.shape[0], count, width])
    return tf.where(sizes > 0, largest, tf.zeros([], hidden.dtype))


def alone(tokens: tf.Tensor, pooling: str | None) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return the tokens and the other inputs of a network whose rows hold a text each.

    Args:
        tokens: [B, T] integers; negative ones behind a text are padding.
        pooling: how the network reads a text off; None where it predicts at every token.

    Returns:
        tokens [B, T] without negative ones, and `document` [B, T]; with a pooling also `predicted` [B, 1].
    """
    there = tokens >= 0
    inputs = {"document": tf.where(there, 0, 1)}
    if pooling is not None:
        lengths = tf.reduce_sum(tf.cast(there, tf.int32), axis=1, keepdims=True)
        inputs["predicted"] = tf.zeros_like(lengths) if pooling == "first" else tf.maximum(lengths - 1, 0)
    return tf.maximum(tokens, 0), inputs
