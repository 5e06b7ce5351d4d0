"""The loss of rows, of which gradients are clipped.

Shapes: B rows, K targets of a row, R = B K, V vocabulary.
"""

from collections.abc import Callable

import tensorflow as tf

from lm_keras.layers.compiled_recurrence import row_groups
from lm_keras.objectives import compiled_loss
from lm_keras.objectives.losses import OF_TARGETS, SUMS, predicted, summed

Sums = dict[str, tf.Tensor]
Objective = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, Sums]]
Terms = tuple[list[tf.Tensor], Callable[[], tf.Tensor]]
"""The sums of the objective and of `OF_TARGETS`, and what returns the gradient of the logits, [R, V]."""


def row_objective(label_smoothing: float = 0.0, z_loss: float = 0.0, compiled: bool = False) -> Objective:
    """Return a function that sums the losses of rows: logits [B, K, V], targets [B, K], weights [B, K] -> a
    scalar and `SUMS`.

    The loss of a row is the sum over its targets, divided by K. That is a constant: the number of targets
    belongs to what is protected.

    Args:
        label_smoothing, z_loss: see `lm_keras.objectives.losses.next_token_loss`.
        compiled: whether XLA compiles it, in groups of rows.
    """
    compute = _compiled_terms if compiled else _terms

    def objective(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, Sums]:
        length = targets.shape[-1]
        targets, weights = tf.reshape(targets, [-1]), tf.reshape(weights, [-1])

        @tf.custom_gradient
        def total(logits):
            (found, *sums), d_logits = compute(logits, targets, weights, length, label_smoothing, z_loss)
            return (found, *sums), lambda d_total, *_: d_logits() * d_total

        found, *sums = total(tf.reshape(logits, [-1, logits.shape[-1]]))
        return found, dict(zip(SUMS, [*map(tf.stop_gradient, sums), tf.reduce_sum(weights)]))

    return objective


def _terms(
    logits: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    length: int,
    label_smoothing: float,
    z_loss: float,
) -> Terms:
    """Compute the loss of logits [R, V]; `length` is K."""
    found, each = predicted(logits, targets), weights / length
    normalizer = found.losses + found.chosen
    terms, pull = found.losses, 0.0
    if label_smoothing:
        uniform = normalizer - tf.reduce_mean(logits, -1)
        terms = (1 - label_smoothing) * terms + label_smoothing * uniform
    if z_loss:
        terms += z_loss * normalizer**2
        pull = (2 * z_loss * normalizer)[:, None]

    def d_logits() -> tf.Tensor:
        of_target = tf.range(logits.shape[-1])[None] == targets[:, None]
        d_logits = found.probabilities
        if label_smoothing or z_loss:
            d_logits = d_logits * (1 + pull) - label_smoothing / logits.shape[-1]
        d_logits = tf.where(of_target, d_logits - (1 - label_smoothing), d_logits)
        return d_logits * each[:, None]

    sums = [summed(value(found), weights) for value in OF_TARGETS.values()]
    return [tf.reduce_sum(terms * each), *sums], d_logits


def _compiled_terms(
    logits: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    length: int,
    label_smoothing: float,
    z_loss: float,
) -> Terms:
    """Compute what `_terms` does."""
    share = tf.constant(1.0 / length)
    groups = row_groups(logits.shape[0])
    rows = zip(*(tf.split(values, groups) for values in (logits, targets, weights)))
    parts = [
        compiled_loss.between_products(*of_group, label_smoothing, z_loss, logits.dtype, False, share)
        for of_group in rows
    ]
    sums, d_logits = zip(*parts)
    found, *sums = [tf.add_n(of_groups) for of_groups in zip(*sums)]
    return [found / length, *sums], lambda: tf.concat(d_logits, 0)
