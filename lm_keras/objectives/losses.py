"""The next-token loss, as sums, which are divided once, over the whole global batch.

Shapes: B rows, T time, R = B T, D width of the features, V vocabulary.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

PIECE_VALUES = 2**23
"""Most logits that are held at a time, 32 MiB in float32: each piece adds to the whole gradient of the
matrix, so that many small pieces take longer.
"""


SUMS = ("nats", "correct", "weight")
"""The sums of a step that its measures are made of, by their names in `LossSums`; a step adds up what stands
here.
"""


@dataclasses.dataclass(frozen=True)
class LossSums:
    """Sums over the targets of a batch, each a float32 scalar.

    Attributes:
        objective: what the gradient is taken of, in nats: the loss with label smoothing and z-loss.
        nats: weighted cross-entropy of the true tokens, which perplexity is made of.
        correct: targets with a weight whose logit is the largest.
        weight: sum of the weights; where these are 0 and 1, the number of targets.
    """

    objective: tf.Tensor
    nats: tf.Tensor
    correct: tf.Tensor
    weight: tf.Tensor

    def named(self) -> dict[str, tf.Tensor]:
        """Return the sums that measures are made of, by the names in `SUMS`."""
        return {name: getattr(self, name) for name in SUMS}


class _Piece(NamedTuple):
    """What some rows add to the sums and to the gradients of the objective."""

    objective: tf.Tensor
    nats: tf.Tensor
    correct: tf.Tensor
    d_features: tf.Tensor
    d_matrix: tf.Tensor
    d_bias: tf.Tensor | None


def next_token_loss(
    features, output, targets, weights, label_smoothing: float = 0.0, z_loss: float = 0.0, scale=None
) -> LossSums:
    """Sum the cross-entropy of the targets under the logits that features and an output matrix give.

    J = - sum_i w_i sum_j y_ij log softmax(z_i)_j, with y one-hot, or with `label_smoothing` e: (1 - e)
    one-hot + e / V; with `z_loss` c also + c sum_i w_i log^2 sum_j exp z_ij.

    The gradient is formed together with the loss, piece by piece over the rows, so that no more than
    `PIECE_VALUES` of the R V logits exist at a time; the backward pass only multiplies it by what comes from
    above. Products run in the dtype of the features, everything else in float32.

    Args:
        features: [B, T, D], B and T known when traced.
        output: `(matrix, bias, transposed)` as a network's `output_weights` returns it: [D, V], or [V, D] if
            transposed, and [V] or None, float32.
        targets: [B, T] int32.
        weights: [B, T] float32, 0 where there is no target.
        label_smoothing: e, probability spread evenly over the vocabulary.
        z_loss: c, which keeps the logits' normalizer near 1.
        scale: by what the gradient is multiplied while it is in the dtype of the features, a scalar; None for
            1.

    Reference: the article's section 4.2, equation J(theta), without its division by m. Label smoothing:
    Szegedy et al. (2016), section 7. z-loss: Chowdhery et al. (2022), section 5.
    """
    matrix, bias, transposed = output
    width, vocab_size = features.shape[-1], matrix.shape[0 if transposed else 1]
    targets, weights = tf.reshape(targets, [-1]), tf.reshape(weights, [-1])

    @tf.custom_gradient
    def sums(features, matrix, *bias):
        matrix, bias = tf.cast(matrix, features.dtype), bias[0] if bias else None
        over = _over_pieces if features.shape[0] * vocab_size > PIECE_VALUES else _at_once
        whole = over(
            lambda *rows: _piece(*rows, matrix, bias, transposed, label_smoothing, z_loss, scale),
            (features, targets, weights),
            vocab_size,
            _Piece(
                *[tf.zeros([])] * 3,
                None,
                tf.zeros(matrix.shape),
                None if bias is None else tf.zeros([vocab_size]),
            ),
        )

        def gradient(d_objective, *_):
            d_features = tf.cast(whole.d_features * d_objective, features.dtype)
            d_bias = [] if bias is None else [whole.d_bias * d_objective]
            return d_features, whole.d_matrix * d_objective, *d_bias

        return (whole.objective, whole.nats, whole.correct), gradient

    biases = [] if bias is None else [bias]
    objective, nats, correct = sums(tf.reshape(features, [-1, width]), matrix, *biases)
    return LossSums(objective, tf.stop_gradient(nats), tf.stop_gradient(correct), tf.reduce_sum(weights))


def _piece(features, targets, weights, matrix, bias, transposed, label_smoothing, z_loss, scale) -> _Piece:
    """Compute loss and gradient of some rows: features [r, D], targets [r], weights [r]."""
    dtype = features.dtype
    logits = tf.cast(tf.matmul(features, matrix, transpose_b=transposed), tf.float32)  # [r, V]
    vocab_size = logits.shape[-1]
    if bias is not None:
        logits += bias
    losses, probabilities, chosen, best = _cross_entropy(logits, targets)
    places = tf.stack([tf.range(tf.shape(targets)[0]), targets], axis=1)
    with tf.control_dependencies(
        [losses]
    ):  # Then nobody else needs the probabilities, and their memory is taken.
        d_logits = tf.tensor_scatter_nd_sub(probabilities, places, tf.ones_like(chosen))
    terms = losses
    if label_smoothing or z_loss:
        normalizer = losses + chosen  # log sum_j exp z_j
        one_hot = tf.one_hot(targets, vocab_size)
        # -mean_j log p_j = normalizer - mean_j z_j
        uniform = normalizer - tf.reduce_mean(logits, axis=-1)
        terms = (1 - label_smoothing) * losses + label_smoothing * uniform
        if z_loss:
            terms += z_loss * normalizer**2
        pull = (2 * z_loss * normalizer)[:, None]
        d_logits = d_logits * (1 + pull) + one_hot * (label_smoothing + pull) - label_smoothing / vocab_size
    d_bias = None if bias is None else tf.linalg.matvec(d_logits, weights, transpose_a=True)
    short = tf.cast(d_logits if scale is None else d_logits * scale, dtype)
    weighted = features * tf.cast(weights, dtype)[:, None]
    first, second = (short, weighted) if transposed else (weighted, short)
    d_matrix = tf.cast(tf.matmul(first, second, transpose_a=True), tf.float32)
    d_features = tf.cast(tf.matmul(short, matrix, transpose_b=not transposed), tf.float32) * weights[:, None]
    if scale is not None:
        d_matrix, d_features = d_matrix / scale, d_features / scale
    return _Piece(
        tf.reduce_sum(terms * weights),
        tf.reduce_sum(losses * weights),
        tf.reduce_sum(tf.cast(best & (weights > 0), tf.float32)),
        d_features,
        d_matrix,
        d_bias,
    )


def _cross_entropy(logits, targets):
    """Return the losses of rows [r, V], their softmax, the logits of the targets, and whether those are the
    largest.

    log sum_j exp z_j = max_j z_j - log max_j softmax(z)_j, which takes but passes that are fast: TensorFlow's
    own operation for loss and gradient needs 2.7 times as long on a CPU. Comparing with the largest logit
    costs a tenth of an argmax.
    """
    chosen, largest = tf.gather(logits, targets, batch_dims=1), tf.reduce_max(logits, axis=-1)
    probabilities = tf.nn.softmax(logits)
    losses = largest - tf.math.log(tf.reduce_max(probabilities, axis=-1)) - chosen
    return losses, probabilities, chosen, largest <= chosen


def _at_once(compute, rows, vocab_size, zeros) -> _Piece:
    return compute(*rows)


def _over_pieces(compute, rows, vocab_size, zeros) -> _Piece:
    """Call `compute` for some of the rows at a time; rows of weight 0 fill up the last piece."""
    count, width = rows[0].shape
    pieces = -(-count * vocab_size // PIECE_VALUES)
    size = -(-count // pieces)
    # Not slices from k * size on, whose number of rows XLA would not know.
    filled = [tf.pad(a, [[0, pieces * size - count]] + [[0, 0]] * (len(a.shape) - 1)) for a in rows]
    parts = [tf.reshape(a, [pieces, size, *a.shape[1:]]) for a in filled]

    def one_more(k, d_features, total):
        piece = compute(*(part[k] for part in parts))
        values = [getattr(piece, name) for name in summed]
        return k + 1, d_features.write(k, piece.d_features), [a + b for a, b in zip(total, values)]

    summed = [name for name, zero in zeros._asdict().items() if zero is not None]
    array = tf.TensorArray(tf.float32, pieces, element_shape=[size, width])
    _, d_features, total = tf.while_loop(
        lambda k, *_: k < pieces,
        one_more,
        (tf.constant(0), array, [getattr(zeros, name) for name in summed]),
        parallel_iterations=1,
    )
    d_features = tf.reshape(d_features.stack(), [-1, width])[:count]
    return zeros._replace(d_features=d_features, **dict(zip(summed, total)))


def per_token_nats(logits, targets):
    """Return the cross-entropy of every target, [B, T] float32 in nats, under logits [B, T, V]."""
    flat = tf.reshape(logits, [-1, logits.shape[-1]])
    losses, *_ = _cross_entropy(flat, tf.reshape(targets, [-1]))
    return tf.reshape(losses, tf.shape(targets))
