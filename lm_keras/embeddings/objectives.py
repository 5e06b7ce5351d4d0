"""Skip-gram and CBOW with negative sampling, a block of words at a time, as products of matrices.

G blocks, S words of a block, w window, P = S + 2w words of a block and around it, N negative samples of a
block, D width. The words of a block share their negative samples, so that each vector is read once for many
pairs: what counts is the sum of N logarithms times k / N, whose mean is that of k samples for each pair.

Reference:
    Mikolov et al. (2013a), "Efficient estimation of word representations in vector space"; Mikolov et al.
    (2013b), "Distributed representations of words and phrases and their compositionality", equation 4; Ji et
    al. (2016), "Parallelizing word2vec in shared and distributed memory", for the shared samples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Table = tf.Variable | tf.Tensor
"""Vectors of all words, [V, D] float32."""


class Step(NamedTuple):
    """What one block of words asks of the two tables.

    Attributes:
        first: gradient of the input rows, as ids and values [..., D].
        second: gradient of the output rows, as `first`.
        loss: returns the sum of the losses of all predictions; it costs a logarithm for each, and no gradient
            needs it.
        count: how many predictions there are: pairs, or words that have a context.
    """

    first: tuple[tf.Tensor, tf.Tensor]
    second: tuple[tf.Tensor, tf.Tensor]
    loss: Callable[[], tf.Tensor]
    count: tf.Tensor


def inside(part: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Tell which words a word is paired with: [G, S, P] float32, 1 or 0.

    Args:
        part: [G, P], words of one number may be paired.
        window: [G, S], how far each word looks.

    Example: with S = 3 and w = 1, parts [1 1 1 2 2] and windows [1 1 1]

        [[1 0 1 0 0]
         [0 1 0 0 0]
         [0 0 0 0 1]]
    """
    block = window.shape[-1]
    around = (part.shape[-1] - block) // 2
    distance = np.abs(np.arange(block + 2 * around) - np.arange(block)[:, None] - around)
    distance[distance == 0] = np.iinfo(np.int32).max  # No word is in its own context.
    middle = part[:, around : around + block]
    return tf.cast(
        (tf.constant(distance, tf.int32) <= window[:, :, None]) & (part[:, None, :] == middle[:, :, None]),
        tf.float32,
    )


def skipgram(
    inputs: Table,
    outputs: Table,
    near: tf.Tensor,
    part: tf.Tensor,
    window: tf.Tensor,
    drawn: tf.Tensor,
    negatives: int,
) -> Step:
    """Return loss and gradients where each word predicts those in its window.

    The loss of a pair of the word i and the word j near it is -log s(v_j . u_i) - sum over k samples n of
    log s(-v_n . u_i), with u of `inputs`, v of `outputs` and s(x) = 1 / (1 + e^-x).

    Args:
        inputs, outputs: the tables, [V, D].
        near, part, window, drawn: as in `batches.WordBatch`.
        negatives: k.
    """
    around = (near.shape[-1] - window.shape[-1]) // 2
    middle = near[:, around : around + window.shape[-1]]
    others = tf.concat([near, drawn], 1)
    u, v = tf.gather(inputs, middle), tf.gather(outputs, others)  # [G, S, D], [G, P + N, D]
    logits = tf.matmul(u, v, transpose_b=True)  # [G, S, P + N]
    pairs = inside(part, window)
    near_logits, drawn_logits = logits[:, :, : near.shape[-1]], logits[:, :, near.shape[-1] :]
    weight = tf.reduce_sum(pairs, -1, keepdims=True) * (negatives / drawn.shape[-1])  # [G, S, 1]
    error = tf.concat([-pairs * tf.sigmoid(-near_logits), weight * tf.sigmoid(drawn_logits)], -1)

    def loss() -> tf.Tensor:
        of_pairs = tf.reduce_sum(pairs * tf.nn.softplus(-near_logits))
        return of_pairs + tf.reduce_sum(weight * tf.nn.softplus(drawn_logits))

    of_others = tf.matmul(error, u, transpose_a=True)  # [G, P + N, D]
    return Step((middle, tf.matmul(error, v)), (others, of_others), loss, tf.reduce_sum(pairs))


def cbow(
    inputs: Table,
    outputs: Table,
    near: tf.Tensor,
    part: tf.Tensor,
    window: tf.Tensor,
    drawn: tf.Tensor,
    negatives: int,
) -> Step:
    """Return loss and gradients where the mean of the words in its window predicts each word.

    The loss of the word i is -log s(v_i . h) - sum over k samples n of log s(-v_n . h), with h the mean of
    the rows of `inputs` in its window. The gradient is that of the mean (İrsoy et al., 2021).

    Args:
        inputs, outputs, near, part, window, drawn, negatives: as for `skipgram`.
    """
    block = window.shape[-1]
    around = (near.shape[-1] - block) // 2
    others = tf.concat([near[:, around : around + block], drawn], 1)
    u, v = tf.gather(inputs, near), tf.gather(outputs, others)  # [G, P, D], [G, S + N, D]
    pairs = inside(part, window)
    size = tf.reduce_sum(pairs, -1, keepdims=True)
    share = tf.math.divide_no_nan(pairs, size)  # [G, S, P]
    mean = tf.matmul(share, u)  # [G, S, D]
    there = tf.cast(size > 0, tf.float32)  # [G, S, 1]
    own, noise = v[:, :block], v[:, block:]
    logit = tf.reduce_sum(mean * own, -1, keepdims=True)
    drawn_logits = tf.matmul(mean, noise, transpose_b=True)  # [G, S, N]
    weight = there * (negatives / drawn.shape[-1])
    error, drawn_error = -there * tf.sigmoid(-logit), weight * tf.sigmoid(drawn_logits)
    of_mean = error * own + tf.matmul(drawn_error, noise)
    of_others = tf.concat([error * mean, tf.matmul(drawn_error, mean, transpose_a=True)], 1)
    of_near = tf.matmul(share, of_mean, transpose_a=True)  # [G, P, D]

    def loss() -> tf.Tensor:
        of_own = tf.reduce_sum(there * tf.nn.softplus(-logit))
        return of_own + tf.reduce_sum(weight * tf.nn.softplus(drawn_logits))

    return Step((near, of_near), (others, of_others), loss, tf.reduce_sum(there))


METHODS = {"skipgram": skipgram, "cbow": cbow}
