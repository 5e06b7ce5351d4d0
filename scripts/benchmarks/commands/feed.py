"""How many tokens a second the pipeline delivers."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lm_keras.data.order import StreamOrder, WindowOrder
from lm_keras.data.pipeline import next_tokens, training_batches
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.training.environment import machine

FEED_TOKENS = 50_000_000


def feed(sequence_length: int, batch_size: int, repeats: int, seconds: float = 2.0) -> Iterator[dict]:
    """Measure how many tokens a second the pipeline delivers from a memory map that is in the page cache.

    Args:
        sequence_length: T.
        batch_size: B.
        repeats: how often each kind of batching is measured, in turn.
        seconds: length of one measurement.

    Yields:
        For `window` and `stream`: median, lowest and highest millions of tokens a second.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens"
        random = np.random.default_rng(1)
        random.integers(0, 50_000, FEED_TOKENS, dtype=np.uint16).tofile(path)
        tokens = np.memmap(path, np.uint16, "r")
        kinds = {
            "window": WindowOrder(FEED_TOKENS - 1, batch_size, sequence_length, seed=1),
            "stream": StreamOrder(FEED_TOKENS - 1, batch_size, sequence_length),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(repeats):
            for kind, order in kinds.items():
                rates[kind].append(_rate(tokens, order, seconds))
        for kind, values in rates.items():
            yield {
                "batching": kind,
                "sequence_length": sequence_length,
                "batch_size": batch_size,
                "million_tokens_per_second": round(statistics.median(values), 1),
                "lowest": round(min(values), 1),
                "highest": round(max(values), 1),
                "repeats": repeats,
                "machine": machine(),
            }


def _rate(tokens, order, seconds: float) -> float:
    per_batch = order.batch_size * order.sequence_length
    store = TokenStore(tokens, np.array([1]), TextCounts(*[len(tokens) - 1] * 4))
    batches = iter(training_batches(lambda rows, step: next_tokens(store, rows), order, 0, 10**9))
    for _ in range(20):
        next(batches)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(20):
            next(batches)
        count += 20
    rate = count * per_batch / (time.perf_counter() - began) / 1e6
    del batches  # Ends its threads while Python can still serve them.
    return rate
