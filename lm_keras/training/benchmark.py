"""Measurements of this machine and of plain compressors, to compare a model with."""

import gzip
import lzma
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.data.order import StreamOrder, WindowOrder
from lm_keras.data.pipeline import training_batches
from lm_keras.data.store import prepare
from lm_keras.errors import InputError
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
    batches = iter(training_batches(tokens, order, 0, 10**9))
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


def baselines(run_dir: str, split: str) -> Iterator[dict]:
    """Measure what simple means need for a split of a run, in bits per byte.

    `unigram`: the run's own tokens with their frequencies in the training text, plus one each. `gzip -9` and
    `xz -9`: the split alone, as those programs would compress it. `xz -9 after train`: what the split adds
    to the training text, so that the compressor has seen what the model has seen.

    Raises:
        InputError: there is no such run or split.
    """
    folder = RunFolder(run_dir)
    data = prepare(folder.config().data, folder.tokenizer())
    if split not in data.splits:
        raise InputError(f"split {split!r} is absent in {run_dir}; it has {', '.join(data.splits)}")
    store, train = data.splits[split], data.splits["train"]
    counts = train.frequencies(data.tokenizer.vocab_size) + 1.0
    nats = -np.log(counts / counts.sum())[store.tokens[1:]].sum()
    text, before = (data.tokenizer.decode(part.tokens[1:].tolist()).encode() for part in (store, train))
    best = {"format": lzma.FORMAT_XZ, "preset": 9}
    sizes = {
        "unigram": nats / math.log(2) / 8,
        "gzip -9": len(gzip.compress(text, 9)),
        "xz -9": len(lzma.compress(text, **best)),
        "xz -9 after train": len(lzma.compress(before + text, **best)) - len(lzma.compress(before, **best)),
    }
    for name, size in sizes.items():
        yield {
            "baseline": name,
            "split": split,
            "bits_per_byte": round(8 * float(size) / store.counts.bytes, 3),
        }
