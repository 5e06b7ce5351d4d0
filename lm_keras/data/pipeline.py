"""The tf.data pipeline: from a token store and an order to the batches of a run."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lm_keras.data.batch import Batch
from lm_keras.data.order import PackedOrder, Rows, StreamOrder, WindowOrder
from lm_keras.data.store import TokenStore

PREFETCH_BATCHES = 4


def training_batches(
    make: Callable[[Rows, tf.Tensor], Batch],
    order: StreamOrder | WindowOrder | PackedOrder,
    first_step: int,
    last_step: int,
    *,
    replicas: int = 1,
    first_replica: int = 0,
    all_replicas: int = 1,
) -> tf.data.Dataset:
    """Return the batches of steps first_step ... last_step - 1 for some of the replicas.

    Elements come in the order in which `distribute_datasets_from_function` deals them out: element i belongs
    to step first_step + i // replicas and replica first_replica + i % replicas, and holds the rows of that
    replica: B / all_replicas of them.

    Args:
        make: returns the batch of some rows of a step; step is an int64 scalar. A task's `batch` of a text.
        order: which rows a step sees.
        first_step: where the run begins or goes on; nothing before it is read.
        last_step: where the run ends.
        replicas: local replicas, that is, replicas of this process.
        first_replica: number of the first of them.
        all_replicas: replicas of all processes.

    Returns:
        A dataset of `Batch`.

    Example: with tokens 0 ... 13 in the store, `next_tokens`, `StreamOrder(13, 3, 2)` and one replica the
    first batch is

        tokens [[0 1] [0 6] [0 11]], targets [[1 2] [6 7] [11 12]], weights all 1, reset all True
    """
    rows_per_replica = order.batch_size // all_replicas

    @tf.autograph.experimental.do_not_convert  # Converting takes a second, and there is nothing to convert.
    def batch(element: tf.Tensor) -> Batch:
        step = first_step + element // replicas
        replica = first_replica + element % replicas
        row = replica * rows_per_replica + tf.range(rows_per_replica, dtype=tf.int64)
        return make(order.rows(step, row), step)

    elements = tf.data.Dataset.range(0, (last_step - first_step) * replicas)
    batches = elements.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.autotune.enabled = True
    return batches.with_options(options).prefetch(PREFETCH_BATCHES)


def next_tokens(store: TokenStore, rows: Rows) -> Batch:
    """Return a batch whose targets are the next tokens, K = T.

    Args:
        store: the text.
        rows: which rows of it.
    """
    window, there = _windows_of(store.tokens, rows)
    targets, read = window[:, 1:], window[:, :-1]
    scored = there if store.unscored is None else there & (targets != store.unscored)
    begin_id = int(store.tokens[0])
    if rows.resets_begin_documents:
        first = tf.where(rows.reset, begin_id, read[:, 0])
        read = tf.concat([first[:, None], read[:, 1:]], axis=1)
    inputs = {"tokens": read, "reset": rows.reset, "document": documents_of(read, begin_id)}
    return Batch(inputs, targets, tf.cast(scored, tf.float32))


def texts_of(store: TokenStore, rows: Rows) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the targets themselves, each of which is in one row of an epoch.

    Args:
        store: the text.
        rows: which rows of it.

    Returns:
        tokens [R, T] int32, and whether each belongs to the row, [R, T] bool.
    """
    window, there = _windows_of(store.tokens, rows)
    return window[:, 1:], there


def _windows_of(tokens: np.ndarray, rows: Rows) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the tokens of some rows with the one behind them, [R, T + 1] int32, and which targets there are,
    [R, T] bool."""
    length = rows.length
    window = tf.numpy_function(
        lambda start: gather(tokens, start, length), [rows.start], tf.int32, stateful=False
    )
    window = tf.ensure_shape(window, [rows.number.shape[0], length + 1])
    position = rows.start[:, None] + tf.range(length, dtype=tf.int64)
    return window, position < rows.end[:, None]


def documents_of(window: tf.Tensor | np.ndarray, begin_id: int) -> tf.Tensor:
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
    positions = start[:, None] + np.arange(length + 1)
    return tokens[np.minimum(positions, len(tokens) - 1)].astype(np.int32)
