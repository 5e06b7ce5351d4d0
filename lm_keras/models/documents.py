"""Numbers of the documents of a row: where each token stands in its own document.

Shapes: B rows, T positions.
"""

import tensorflow as tf


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
