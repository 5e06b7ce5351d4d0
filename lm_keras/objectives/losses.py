"""The next-token loss, as sums, which are divided once, over the whole global batch.

Shapes: B rows, T time, R = B T, r some of these, D width of the features, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

PIECE_VALUES = 2**23
"""Most logits that are held at a time, 32 MiB in float32: each piece adds to the whole gradient of the
matrix, so that many small pieces take longer.
"""


class Predicted(NamedTuple):
    """What a network says of some targets.

    Attributes:
        logits: [r, V] float32.
        losses: [r] float32, cross-entropy in nats.
        probabilities: [r, V] float32, the softmax.
        chosen: [r] float32, the logits of the targets.
        largest: [r] float32, the largest logits.
    """

    logits: tf.Tensor
    losses: tf.Tensor
    probabilities: tf.Tensor
    chosen: tf.Tensor
    largest: tf.Tensor


OF_TARGETS: dict[str, Callable[[Predicted], tf.Tensor]] = {
    "nats": lambda found: found.losses,
    "correct": lambda found: found.largest <= found.chosen,
}
"""What is summed over targets, by name, [r] each. Numbers are multiplied by the weights of the targets; of a
bool the targets with a weight are counted. Training and evaluation add up what stands here.
"""

SUMS = (*OF_TARGETS, "weight")
"""The sums of a step. `weight` is that of the weights; where these are 0 and 1, the number of targets."""


class Loss(NamedTuple):
    """Sums over the targets of a batch, each a float32 scalar.

    Attributes:
        objective: what the gradient is taken of, in nats: the loss with label smoothing and z-loss.
        sums: what measures are made of, by the names in `SUMS`.
    """

    objective: tf.Tensor
    sums: dict[str, tf.Tensor]


class Output(NamedTuple):
    """What makes logits of features.

    Attributes:
        matrix: [D, V], or [V, D] if transposed.
        bias: [V] float32, or None.
        transposed: whether the matrix is.
    """

    matrix: tf.Tensor
    bias: tf.Tensor | None
    transposed: bool


class LossPiece(NamedTuple):
    """What some rows add.

    Attributes:
        sums: the objective, then those of `OF_TARGETS`.
        d_features: [r, D] float32, the gradient of the objective.
        d_output: its gradients of the matrix and, where there is one, of the bias.
    """

    sums: list[tf.Tensor]
    d_features: tf.Tensor
    d_output: list[tf.Tensor]


def next_token_loss(
    features: tf.Tensor,
    output: tuple[tf.Tensor, tf.Tensor | None, bool],
    targets: tf.Tensor,
    weights: tf.Tensor,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    scale: tf.Tensor | None = None,
    piece: Callable[..., LossPiece] | None = None,
) -> Loss:
    """Sum the cross-entropy of the targets under the logits that features and an output matrix give.

    J = - sum_i w_i sum_j y_ij log softmax(z_i)_j, with y one-hot, or with `label_smoothing` e: (1 - e)
    one-hot + e / V; with `z_loss` c also + c sum_i w_i log^2 sum_j exp z_ij.

    The gradient is formed together with the loss, piece by piece over the rows, so that no more than
    `PIECE_VALUES` of the R V logits exist at a time; the backward pass only multiplies it by what comes from
    above. Products run in the dtype of the features, everything else in float32.

    Args:
        features: [B, T, D], B and T known when traced.
        output: `(matrix, bias, transposed)` as a network's `output_weights` returns it; see `Output`.
        targets: [B, T] int32.
        weights: [B, T] float32, 0 where there is no target.
        label_smoothing: e, probability spread evenly over the vocabulary.
        z_loss: c, which keeps the logits' normalizer near 1.
        scale: by what the gradient is multiplied while it is in the dtype of the features, a scalar; None for
            1.
        piece: what computes loss and gradient of some rows; None for TensorFlow's own operations.

    Reference: the article's section 4.2, equation J(theta), without its division by m. Label smoothing:
    Szegedy et al. (2016), section 7. z-loss: Chowdhery et al. (2022), section 5.
    """
    matrix, bias, transposed = output
    width, vocab_size = features.shape[-1], matrix.shape[0 if transposed else 1]
    targets, weights = tf.reshape(targets, [-1]), tf.reshape(weights, [-1])

    @tf.custom_gradient
    def sums(features, matrix, *bias):
        short = Output(tf.cast(matrix, features.dtype), bias[0] if bias else None, transposed)
        over = _over_pieces if features.shape[0] * vocab_size > PIECE_VALUES else _at_once
        whole = over(
            lambda *rows: (piece or _piece)(*rows, short, label_smoothing, z_loss, scale),
            (features, targets, weights),
            [short.matrix.shape, *(one.shape for one in bias)],
        )

        def gradient(d_objective, *_):
            d_features = tf.cast(whole.d_features * d_objective, features.dtype)
            return d_features, *(part * d_objective for part in whole.d_output)

        return tuple(whole.sums), gradient

    biases = [] if bias is None else [bias]
    objective, *found = sums(tf.reshape(features, [-1, width]), matrix, *biases)
    return Loss(objective, dict(zip(SUMS, [*map(tf.stop_gradient, found), tf.reduce_sum(weights)])))


def _piece(
    features: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    output: Output,
    label_smoothing: float,
    z_loss: float,
    scale: tf.Tensor | None,
) -> LossPiece:
    """Compute loss and gradient of some rows: features [r, D], targets [r], weights [r]."""
    matrix, bias, transposed = output
    dtype = features.dtype
    logits = tf.cast(tf.matmul(features, matrix, transpose_b=transposed), tf.float32)  # [r, V]
    vocab_size = logits.shape[-1]
    if bias is not None:
        logits += bias
    found = predicted(logits, targets)
    losses, chosen = found.losses, found.chosen
    places = tf.stack([tf.range(tf.shape(targets)[0]), targets], axis=1)
    # Then nobody else needs the probabilities, and their memory is taken.
    with tf.control_dependencies([losses]):
        d_logits = tf.tensor_scatter_nd_sub(found.probabilities, places, tf.ones_like(chosen))
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
    d_bias = [] if bias is None else [tf.linalg.matvec(d_logits, weights, transpose_a=True)]
    short = tf.cast(d_logits if scale is None else d_logits * scale, dtype)
    weighted = features * tf.cast(weights, dtype)[:, None]
    first, second = (short, weighted) if transposed else (weighted, short)
    d_matrix = tf.cast(tf.matmul(first, second, transpose_a=True), tf.float32)
    d_features = tf.cast(tf.matmul(short, matrix, transpose_b=not transposed), tf.float32) * weights[:, None]
    if scale is not None:
        d_matrix, d_features = d_matrix / scale, d_features / scale
    sums = [summed(value(found), weights) for value in OF_TARGETS.values()]
    return LossPiece([tf.reduce_sum(terms * weights), *sums], d_features, [d_matrix, *d_bias])


def summed(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Sum values of targets [r]: numbers times their weights; of bools those with a weight are counted."""
    if values.dtype == tf.bool:
        return tf.reduce_sum(tf.cast(values & (weights > 0), tf.float32))
    return tf.reduce_sum(values * weights)


def predicted(logits: tf.Tensor, targets: tf.Tensor) -> Predicted:
    """Return what logits [r, V] say of targets [r].

    log sum_j exp z_j = max_j z_j - log max_j softmax(z)_j, which takes but passes that are fast: TensorFlow's
    own operation for loss and gradient needs 2.7 times as long on a CPU. Comparing with the largest logit
    costs a tenth of an argmax.
    """
    chosen, largest = tf.gather(logits, targets, batch_dims=1), tf.reduce_max(logits, axis=-1)
    probabilities = tf.nn.softmax(logits)
    losses = largest - tf.math.log(tf.reduce_max(probabilities, axis=-1)) - chosen
    return Predicted(logits, losses, probabilities, chosen, largest)


def _at_once(
    compute: Callable[..., LossPiece], rows: Sequence[tf.Tensor], shapes: list[tf.TensorShape]
) -> LossPiece:
    del shapes
    return compute(*rows)


def _over_pieces(
    compute: Callable[..., LossPiece], rows: Sequence[tf.Tensor], shapes: list[tf.TensorShape]
) -> LossPiece:
    """Call `compute` for some of the rows at a time; rows of weight 0 fill up the last piece.

    Args:
        compute: returns what some rows add.
        rows: features [R, D], targets [R] and weights [R].
        shapes: of the matrix and, where there is one, of the bias.
    """
    (count, width), vocab_size = rows[0].shape, shapes[0].num_elements() // rows[0].shape[1]
    pieces = -(-count * vocab_size // PIECE_VALUES)
    size = -(-count // pieces)
    # Not slices from k * size on, whose number of rows XLA would not know.
    filled = [tf.pad(a, [[0, pieces * size - count]] + [[0, 0]] * (len(a.shape) - 1)) for a in rows]
    parts = [tf.reshape(a, [pieces, size, *a.shape[1:]]) for a in filled]

    def one_more(k, d_features, *totals):
        piece = compute(*(part[k] for part in parts))
        more = zip(totals, (piece.sums, piece.d_output))
        added = [[a + b for a, b in zip(total, values)] for total, values in more]
        return k + 1, d_features.write(k, piece.d_features), *added

    array = tf.TensorArray(tf.float32, pieces, element_shape=[size, width])
    zeros = [tf.zeros([])] * (1 + len(OF_TARGETS)), [tf.zeros(shape) for shape in shapes]
    _, d_features, sums, d_output = tf.while_loop(
        lambda k, *_: k < pieces, one_more, (tf.constant(0), array, *zeros), parallel_iterations=1
    )
    d_features = tf.reshape(d_features.stack(), [-1, width])[:count]
    return LossPiece(sums, d_features, d_output)


def of_targets(logits: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return what is summed over targets, by the names in `OF_TARGETS`, [B, T] each.

    Args:
        logits: [B, T, V] float32.
        targets: [B, T] int32.
    """
    found = predicted(tf.reshape(logits, [-1, logits.shape[-1]]), tf.reshape(targets, [-1]))
    return {name: tf.reshape(value(found), tf.shape(targets)) for name, value in OF_TARGETS.items()}
