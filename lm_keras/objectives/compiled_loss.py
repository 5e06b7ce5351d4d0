"""What the loss computes between its products, compiled by XLA.

TensorFlow's own operations read or write all logits some ten times. XLA needs half as many passes. The
products stay TensorFlow's, which are faster there.

Shapes: r rows, D width of the features, V vocabulary.
"""

import tensorflow as tf

from lm_keras.layers.compiled_recurrence import row_groups
from lm_keras.layers.fused import single
from lm_keras.objectives import losses
from lm_keras.objectives.losses import OF_TARGETS, LossPiece, Output, Predicted


def piece(
    features: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    output: Output,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    scale: tf.Tensor | None = None,
) -> LossPiece:
    """Compute loss and gradient of some rows, as `lm_keras.objectives.losses` does, in one group or two.

    Args:
        features: [r, D]; r is known when traced.
        targets: [r] int32.
        weights: [r] float32.
        output: matrix and bias.
        label_smoothing, z_loss, scale: see `losses.next_token_loss`.
    """
    groups = row_groups(features.shape[0])
    rows = zip(*(tf.split(values, groups) for values in (features, targets, weights)))
    parts = [_group(*each, output, label_smoothing, z_loss, scale) for each in rows]
    sums, d_features, d_output = zip(*parts)
    added = [[tf.add_n(of_groups) for of_groups in zip(*values)] for values in (sums, d_output)]
    return LossPiece(added[0], tf.concat(d_features, 0), added[1])


def _group(
    features: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    output: Output,
    label_smoothing: float,
    z_loss: float,
    scale: tf.Tensor | None,
) -> LossPiece:
    matrix, bias, transposed = output
    logits = single(tf.matmul(features, matrix, transpose_b=transposed))
    if bias is not None:
        logits += bias  # TensorFlow makes it part of a product in float32.
    dtype = features.dtype
    sums, d_logits, *d_bias = between_products(
        logits, targets, weights, label_smoothing, z_loss, dtype, bias is not None, scale
    )
    first, second = (d_logits, features) if transposed else (features, d_logits)
    d_matrix = single(tf.matmul(first, second, transpose_a=True))
    d_features = single(tf.matmul(d_logits, matrix, transpose_b=not transposed))
    if scale is not None:
        d_matrix, d_features = d_matrix / scale, d_features / scale
    return LossPiece(sums, d_features, [d_matrix, *d_bias])


@tf.function(jit_compile=True, autograph=False)
def between_products(
    logits: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    label_smoothing: float,
    z_loss: float,
    dtype: tf.DType,
    biased: bool,
    scale: tf.Tensor | None,
) -> tuple[list[tf.Tensor], ...]:
    """Return the sums of `LossPiece`, the gradient of the logits [r, V], in `dtype` and times `scale`, and,
    if they are `biased`, that of the bias [V].
    """
    vocab_size = logits.shape[-1]
    largest = tf.reduce_max(logits, -1)
    powers = tf.exp(logits - largest[:, None])
    total = tf.reduce_sum(powers, -1)
    chosen = tf.gather(logits, targets, batch_dims=1)
    normalizer = largest + tf.math.log(total)  # log sum_j exp z_j
    found = Predicted(logits, normalizer - chosen, powers / total[:, None], chosen, largest)
    terms, pull, share = found.losses, 0.0, label_smoothing / vocab_size
    if label_smoothing:
        # -mean_j log p_j = normalizer - mean_j z_j
        uniform = normalizer - tf.reduce_mean(logits, -1)
        terms = (1 - label_smoothing) * terms + label_smoothing * uniform
    if z_loss:
        terms += z_loss * normalizer**2
        pull = 2 * z_loss * normalizer
    of_target = (1.0 - label_smoothing) * weights[:, None]
    of_target = tf.where(tf.range(vocab_size) == targets[:, None], of_target, 0.0)
    factors = (1.0 + pull) * weights
    d_logits = found.probabilities * factors[:, None] - of_target
    if label_smoothing:
        d_logits -= share * weights[:, None]
    d_bias = [tf.reduce_sum(d_logits, 0)] if biased else []
    short = tf.cast(d_logits if scale is None else d_logits * scale, dtype)
    summed = [losses.summed(value(found), weights) for value in OF_TARGETS.values()]
    return [tf.reduce_sum(terms * weights), *summed], short, *d_bias
