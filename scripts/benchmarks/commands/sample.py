"""How fast text is sampled, beside a plain loop in PyTorch or the library transformers."""

import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.training.environment import machine

OWN = ("lm_keras", "compiled_bfloat16", "int8")
"""Candidates that are our own sampler."""

SHAPE, SHAPE_WITH_CACHE = ((1, 32), 1, 256), ((1, 8), 32, 64)
"""Rows, tokens of the prompt, and new tokens: of a family without and with a cache."""


def sample(config: Config, peers: list[str], repeats: int) -> Iterator[dict]:
    """Sample from a network with random weights, all candidates in turn, each in a process of its own.

    Args:
        config: the settings; `vocab_size` is that of the random tokens.
        peers: other candidates, as `--peer` names them.
        repeats: how often each is measured.

    Yields:
        For each number of rows and each candidate: tokens a second over all rows, the middle half, and for a
        peer the ratio of its time to ours, pair by pair. For ours also, measured in turn with it, how many
        gigabytes a second are read from memory by all cores and by one; the share of the speed that reading
        all weights once for each token would allow. For ours, and for a peer that is our own sampler, the
        milliseconds of a token of every row, and those of its matrix products alone, also compiled by XLA.

    Raises:
        InputError: a process fails.
    """
    every_rows, prompt, tokens = SHAPE_WITH_CACHE if config.model.has("cache") else SHAPE
    running = [Running(name, config) for name in ["lm_keras", *peers]]
    ours = running[0]
    try:
        for rows in every_rows:
            for candidate in running:
                candidate.call("sample", rows, prompt, tokens)  # Compiles.
            times: dict[str, list[float]] = {candidate.name: [] for candidate in running}
            products: dict[str, list[dict[str, float]]] = {
                each.name: [] for each in running if each.name in OWN
            }
            reading = []
            for repeat in range(repeats):
                for candidate in running if repeat % 2 else running[::-1]:
                    times[candidate.name].append(candidate.call("sample", rows, prompt, tokens))
                reading.append(ours.call("bytes_per_second"))
                for candidate in running:
                    if candidate.name in OWN:
                        products[candidate.name].append(candidate.call("products_of_a_token", rows))
            for candidate in running:
                values = times[candidate.name]
                speeds = [rows * tokens / value for value in values]
                result = {
                    "candidate": candidate.name,
                    "rows": rows,
                    "tokens_per_second": round(statistics.median(speeds)),
                    "middle_half": between(speeds),
                }
                if candidate is ours:
                    rate, of_one = map(statistics.median, zip(*reading))
                    size = ours.call("weight_bytes")
                    shares = [size * tokens / value / rate for value in values]
                    result |= {
                        "gigabytes_per_second": round(rate / 1e9, 1),
                        "gigabytes_per_second_of_a_core": round(of_one / 1e9, 1),
                        "share_of_reading": round(statistics.median(shares), 3),
                    }
                else:
                    ratios = [theirs / our for theirs, our in zip(values, times["lm_keras"])]
                    result |= {
                        "times_faster": round(statistics.median(ratios), 3),
                        "times_faster_middle_half": between(ratios),
                    }
                if candidate.name in OWN:
                    result["milliseconds_per_token"] = round(1000 * statistics.median(values) / tokens, 2)
                    found = products[candidate.name]
                    for name in found[0]:
                        middle = statistics.median(each[name] for each in found)
                        result[f"milliseconds_of_{name}"] = round(1000 * middle, 2)
                yield {**result, "repeats": repeats, "machine": machine()}
    finally:
        for candidate in running:
            candidate.stop()
