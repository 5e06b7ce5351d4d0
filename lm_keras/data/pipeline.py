"""The tf.data pipeline: from a token store and an order to the batches of a run."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lm_keras.data.order import PackedOrder, StreamOrder, WindowOrder

PREFETCH_BATCHES = 4


def training_batches(
    tokens: np.ndarray,
    order: StreamOrder | WindowOrder | PackedOrder,
    first_step: int,
    last_step: int,
    *,
    replicas: int = 1,
    first_replica: int = 0,
    all_replicas: int = 1,
    hiding: Callable | None = None,
    unscored: int | None = None,
) -> tf.data.Dataset:
    """Return the batches of steps first_step ... last_step - 1 for some of the replicas.

    Elements come in the order in which `distribute_datasets_from_function` deals them out: element i belongs
    to step first_step + i // replicas and replica first_replica + i % replicas, and holds the rows of that
    replica: B / all_replicas of them.

    Args:
        tokens: the store's tokens, [n + 1] unsigned integers, usually a memory map.
        order: which tokens a step sees.
        first_step: where the run begins or goes on; nothing before it is read.
        last_step: where the run ends.
        replicas: local replicas, that is, replicas of this process.
        first_replica: number of the first of them.
        all_replicas: replicas of all processes.
        hiding: a `lm_keras.data.masking.Masking` or a `lm_keras.data.blanks.Blanks`, which hides tokens that
            are predicted; None to predict the next ones.
        unscored: of the store: a token that is never a target.

    Returns:
        A dataset of `(inputs, targets, weights)`, see `lm_keras.data`.

    Example: with tokens 0 ... 13 in the store, `StreamOrder(13, 3, 2)` and one replica the first batch is

        tokens [[0 1] [0 6] [0 11]], targets [[1 2] [6 7] [11 12]], weights all 1, reset all True
    """
    length = order.sequence_length
    rows_per_replica = order.batch_size // all_replicas

    @tf.autograph.experimental.do_not_convert  # Converting takes a second, and there is nothing to convert.
    def batch(element):
        step = first_step + element // replicas
        replica = first_replica + element % replicas
        row = replica * rows_per_replica + tf.range(rows_per_replica, dtype=tf.int64)
        rows = order.rows(step, row)
        window = tf.numpy_function(
            lambda start: gather(tokens, start, length), [rows.start], tf.int32, stateful=False
        )
        window = tf.ensure_shape(window, [rows_per_replica, length + 1])
        place = rows.start[:, None] + tf.range(length, dtype=tf.int64)
        there = place < rows.end[:, None]
        if hiding is not None:  # The targets themselves are read: each of them is in one row of an epoch.
            return hiding(window[:, 1:], there, step, row[0])
        scored = there if unscored is None else there & (window[:, 1:] != unscored)
        weights = tf.cast(scored, tf.float32)
        read = window[:, :-1]
        if order.resets_begin_documents:
            first = tf.where(rows.reset, int(tokens[0]), read[:, 0])  # The token that begins a document.
            read = tf.concat([first[:, None], read[:, 1:]], axis=1)
        document = documents_of(read, int(tokens[0]))
        return {"tokens": read, "reset": rows.reset, "document": document}, window[:, 1:], weights

    elements = tf.data.Dataset.range(0, (last_step - first_step) * replicas)
    batches = elements.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.autotune.enabled = True
    return batches.with_options(options).prefetch(PREFETCH_BATCHES)


def documents_of(window, begin_id: int):
    """Number the documents within the rows of a window [R, T]: [R, T] int32, rising by 1 at each token that
    begins one.

    Where that is the token that ends the one before, it is the context in which the next document begins, and
    belongs to it.

    Example: with 0 for that token the row [5, 6, 0, 7, 0, 8] has the documents [0, 0, 1, 1, 2, 2].
    """
    return tf.cumsum(tf.cast(window == begin_id, tf.int32), axis=1)


def gather(tokens: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
    """Copy windows of `length + 1` tokens out of the store, all rows of a batch at once.

    Windows that reach beyond the end repeat the last token there; their weights are 0.

    Args:
        tokens: [n + 1], usually a memory map.
        start: [R] int64.
        length: T.

    Returns:
        [R, T + 1] int32.

    Example:
        >>> gather(np.arange(10, 20), np.array([0, 7]), 3).tolist()
        [[10, 11, 12, 13], [17, 18, 19, 19]]
    """
    if len(tokens) > length and start.max(initial=0) + length < len(tokens):
        windows = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)
        return windows[start].astype(np.int32)
    places = start[:, None] + np.arange(length + 1)
    return tokens[np.minimum(places, len(tokens) - 1)].astype(np.int32)
