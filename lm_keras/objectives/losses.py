"""The next-token loss, as sums: whoever divides does it once, over the whole global batch.

Shapes: B rows, T time, V vocabulary.
"""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class LossSums:
    """Sums over the weighted targets of a batch, each a float32 scalar.

    Attributes:
        objective: what the gradient is taken of, in nats: the loss with label smoothing.
        nats: cross-entropy of the true tokens, which perplexity is made of.
        correct: targets whose logit is the largest.
        weight: number of targets.
    """

    objective: tf.Tensor
    nats: tf.Tensor
    correct: tf.Tensor
    weight: tf.Tensor


def next_token_loss(logits, targets, weights, label_smoothing: float = 0.0) -> LossSums:
    """Sum the cross-entropy of the targets under the logits.

    J = - sum_i w_i sum_j y_ij log softmax(z_i)_j, with y one-hot, or with `label_smoothing` e:
    (1 - e) one-hot + e / V.

    Args:
        logits: [B, T, V] float32.
        targets: [B, T] int32.
        weights: [B, T] float32, 0 where there is no target.
        label_smoothing: e, probability spread evenly over the vocabulary.

    Reference: the article's section 4.2, equation J(theta), without its division by m. Label smoothing: Szegedy
    et al. (2016), section 7.
    """
    vocab_size = logits.shape[-1]
    logits = tf.reshape(logits, [-1, vocab_size])  # [B T, V]
    targets = tf.reshape(targets, [-1])
    weights = tf.reshape(weights, [-1])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    nats = tf.reduce_sum(losses * weights)
    objective = nats
    if label_smoothing:
        # -mean_j log p_j = log-sum-exp - mean_j z_j, and log-sum-exp = loss + z of the target.
        chosen = tf.gather(logits, targets, batch_dims=1)
        uniform = losses + chosen - tf.reduce_mean(logits, axis=-1)
        objective = (1 - label_smoothing) * nats + label_smoothing * tf.reduce_sum(uniform * weights)
    # Comparing with the largest logit costs a tenth of an argmax.
    best = tf.reduce_max(logits, axis=-1) <= tf.gather(logits, targets, batch_dims=1)
    correct = tf.reduce_sum(tf.cast(best, tf.float32) * weights)
    return LossSums(objective, nats, tf.stop_gradient(correct), tf.reduce_sum(weights))


def per_token_nats(logits, targets):
    """Return the cross-entropy of every target, [B, T] float32 in nats."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
