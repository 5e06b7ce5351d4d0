"""How fast text is sampled, beside a plain loop in PyTorch."""

import statistics
from collections.abc import Iterator

from lm_keras.benchmarks.candidates import Running, check
from lm_keras.benchmarks.train import between
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.training.environment import machine

NEW_TOKENS = 256
ROWS = (1, 32)


def sample(config: Config, peers: list[str], repeats: int) -> Iterator[dict]:
    """Sample from a network with random weights, all candidates in turn, each in a process of its own.

    Args:
        config: the settings; `vocab_size` is that of the random tokens.
        peers: other candidates, as `--peer` names them.
        repeats: how often each is measured.

    Yields:
        For each number of rows and each candidate: tokens a second over all rows, the middle half, and for a peer the
        ratio of its time to ours, pair by pair.

    Raises:
        InputError: a peer is not there or has no such network, or a process fails.
    """
    check(peers, config)
    if "keras_fit" in peers:
        raise InputError("--peer=keras_fit only trains; take --peer=torch to compare sampling")
    running = [Running(name, config) for name in ["lm_keras", *peers]]
    try:
        for rows in ROWS:
            for candidate in running:
                candidate.call("sample", rows, NEW_TOKENS)  # Compiles.
            times: dict[str, list[float]] = {candidate.name: [] for candidate in running}
            for repeat in range(repeats):
                for candidate in running if repeat % 2 else running[::-1]:
                    times[candidate.name].append(candidate.call("sample", rows, NEW_TOKENS))
            for name, values in times.items():
                speeds = [rows * NEW_TOKENS / value for value in values]
                result = {
                    "candidate": name,
                    "rows": rows,
                    "tokens_per_second": round(statistics.median(speeds)),
                    "middle_half": between(speeds),
                }
                if name != "lm_keras":
                    ratios = [theirs / ours for theirs, ours in zip(values, times["lm_keras"])]
                    result |= {
                        "times_faster": round(statistics.median(ratios), 3),
                        "times_faster_middle_half": between(ratios),
                    }
                yield {**result, "repeats": repeats, "machine": machine()}
    finally:
        for candidate in running:
            candidate.stop()
