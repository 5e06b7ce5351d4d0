"""Where the tokens of a row are: their positions, what they see, and where their documents begin."""

from typing import NamedTuple

import tensorflow as tf

from lm_keras.layers.attention_mask import AttentionMask


class Arranged(NamedTuple):
    """The positions of the tokens of some rows.

    Attributes:
        positions: [1 or B, T] int32.
        attention_mask: what they see.
        after: what the state after them has beside keys and values.
        within: [B, T] int32, of a network whose tokens have a second position.
    """

    positions: tf.Tensor
    attention_mask: AttentionMask
    after: dict[str, tf.Tensor]
    within: tf.Tensor | None = None


def positions_within(documents: tf.Tensor) -> tf.Tensor:
    """Return the position of each token within its document, for rising numbers of documents [B, T].

    Example: the documents [[0, 0, 1, 1, 1, 2]] have the positions [[0, 1, 0, 1, 2, 0]].
    """
    begins = tf.searchsorted(documents, documents)  # Position of the first token of the same document.
    return tf.range(tf.shape(documents)[1])[None] - begins


def goes_on(document: tf.Tensor) -> tf.Tensor:
    """Return 0 where a document begins in the numbers of documents [B, T], else 1, float32.

    Example: the documents [[0, 0, 1, 1]] give [[1, 1, 0, 1]]; a row begins with a state of zeros anyway.
    """
    same = tf.cast(document[:, 1:] == document[:, :-1], tf.float32)
    return tf.concat([tf.ones_like(document[:, :1], tf.float32), same], 1)


def sinusoids(positions: tf.Tensor, width: int) -> tf.Tensor:
    """Return the vectors [..., D] of positions [...] int32: sines of D / 2 wavelengths, then their cosines.

    Reference: Vaswani et al. (2017), section 3.5, with the sines before the cosines.
    """
    frequencies = 10_000.0 ** (-2.0 * tf.range(width // 2, dtype=tf.float32) / width)
    angles = tf.cast(positions, tf.float32)[..., None] * frequencies
    return tf.concat([tf.sin(angles), tf.cos(angles)], -1)
