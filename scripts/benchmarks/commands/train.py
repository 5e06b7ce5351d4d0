"""How fast the training step is, beside its peers and beside the machine's own products."""

import statistics
import time
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.training.environment import machine

RECORDED_SECONDS = 0.6
SMALLEST_SHARE = 0.01
"""What takes less of a step is not listed."""

PRECISIONS = {"torch": "float32", "torch_compiled": "float32", "torch_bfloat16": "bfloat16"}
"""Of peers that have one of their own."""


def train(config: Config, peers: list[str], repeats: int, seconds: float) -> Iterator[dict]:
    """Train on random tokens, all candidates in turn, each in a process of its own.

    Args:
        config: the settings; `vocab_size` is that of the random tokens.
        peers: other candidates, as `--peer` names them.
        repeats: how often each is measured.
        seconds: length of one measurement.

    Yields:
        For our step and each peer: what it needs a step, in all the spread of the middle half; tokens a
        second; the seconds of its first few steps, which trace and compile; the most main memory of its
        process. For our step also its FLOPs, the share of its time in which it waits for data, the share that
        its own matrix products take by themselves, measured in turn with it, and the kinds of operations that
        take most of it. For a peer the ratio of its time to ours, pair by pair, and what it would be if our
        step were its matrix products alone.

    Raises:
        InputError: a process fails.
    """
    names = ["lm_keras", *peers]
    running = [Running(name, config) for name in names]
    try:
        yield from _measured(config, running, repeats, seconds)
    finally:
        for candidate in running:
            candidate.stop()


def _measured(config: Config, running: list[Running], repeats: int, seconds: float) -> Iterator[dict]:
    ours = running[0]
    first = {}
    for candidate in running:
        began = time.perf_counter()
        candidate.call("train", 0.0)
        first[candidate.name] = time.perf_counter() - began
    times: dict[str, list[float]] = {candidate.name: [] for candidate in running}
    products: list[dict] = []
    waits: list[float] = []
    peaks = {}
    for repeat in range(repeats):
        for candidate in running if repeat % 2 else running[::-1]:
            steps, elapsed = candidate.call("train", seconds)
            times[candidate.name].append(elapsed / steps)
            if candidate is ours:
                waits.append(ours.call("data_wait") * steps / elapsed)
            peaks.setdefault(candidate.name, candidate.peak_mebibytes())  # Before products are measured.
        if (
            config.running.replicas or 1
        ) == 1:  # Those of replicas run side by side, and can't be measured alone.
            products.append(ours.call("products", min(0.3, seconds / 10)))
    profile = ours.call("profile", min(RECORDED_SECONDS, seconds))
    tokens = config.batches.batch_size * config.batches.sequence_length
    flops = ours.call("flops")
    alone = [sum(count * each for count, _, each in found.values()) for found in products]
    for candidate in running:
        values = times[candidate.name]
        middle = statistics.median(values)
        result = {
            "candidate": candidate.name,
            "precision": PRECISIONS.get(candidate.name, config.learning.precision),
            "jit": config.running.jit if candidate is ours else "",
            "parameters": candidate.call("parameters"),
            "milliseconds_per_step": round(1000 * middle, 2),
            "middle_half": between([1000 * value for value in values]),
            "tokens_per_second": round(tokens / middle),
            "first_steps_seconds": round(first[candidate.name], 1),
            "peak_mebibytes": round(peaks[candidate.name]),
        }
        if candidate is ours:
            result |= {
                "gflops_per_step": round(flops / 1e9, 3),
                "gflops_per_second": round(flops / middle / 1e9, 1),
                "data_wait_share": round(statistics.median(waits), 4),
                "profile": {
                    kind: round(share, 3) for kind, share in profile.items() if share >= SMALLEST_SHARE
                },
            }
            if alone:
                shares = [product / step for product, step in zip(alone, values)]
                result |= {
                    "milliseconds_of_products_alone": round(1000 * statistics.median(alone), 2),
                    "share_of_products": round(statistics.median(shares), 3),
                    "products": _rates(products),
                }
        else:
            ratios = [theirs / our for theirs, our in zip(values, times["lm_keras"])]
            result |= {
                "times_faster": round(statistics.median(ratios), 3),
                "times_faster_middle_half": between(ratios),
            }
            if alone:
                result["limit"] = round(middle / statistics.median(alone), 2)
        yield {**result, "repeats": repeats, "machine": machine()}


def _rates(products: list[dict]) -> dict[str, str]:
    """Say for each product how often a step has it, and at how many GFLOP/s it runs by itself."""
    said = {}
    for shape, (count, flops, _) in products[0].items():
        best = statistics.median(found[shape][2] for found in products)
        said[shape] = f"{count} x at {flops / best / 1e9:.0f} GFLOP/s"
    return said
