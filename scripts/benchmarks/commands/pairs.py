"""What a step of training on pairs costs, in seconds of the processor, beside PyTorch."""

import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.training.environment import machine

PEERS = ("torch_pairs", "torch_pairs_bfloat16")


def pairs(config: Config, peers: list[str], repeats: int, seconds: float) -> Iterator[dict]:
    """Train on the text of a run, all candidates in turn, each in a process of its own.

    Args:
        config: the settings of a run of `--task=seq2seq`.
        peers: of `PEERS`.
        repeats: how often each is measured.
        seconds: length of one measurement.

    Yields:
        For each candidate its target tokens a second, padding left out, and the processor's seconds for 1,000
        of them, each with the middle half, and the share of the latter that ours takes.

    Raises:
        InputError: a process fails, or a peer has no such network.
    """
    check(config, peers)
    running = [Running(name, config) for name in ("pairs", *peers)]
    try:
        for candidate in running:
            candidate.call("train", 0.0)
        speeds: dict[str, list[float]] = {candidate.name: [] for candidate in running}
        costs: dict[str, list[float]] = {candidate.name: [] for candidate in running}
        for repeat in range(repeats):
            for candidate in running if repeat % 2 else running[::-1]:
                tokens, elapsed, cpu = candidate.call("train", seconds)
                speeds[candidate.name].append(tokens / elapsed)
                costs[candidate.name].append(1000 * cpu / tokens)
        for candidate in running:
            ratios = [our / theirs for our, theirs in zip(costs["pairs"], costs[candidate.name])]
            yield {
                "candidate": candidate.name,
                "precision": config.learning.precision
                if candidate.name == "pairs"
                else _precision(candidate),
                "parameters": candidate.call("parameters"),
                "tokens_per_second": round(statistics.median(speeds[candidate.name])),
                "cpu_seconds_per_1000_tokens": round(statistics.median(costs[candidate.name]), 3),
                "middle_half": between(costs[candidate.name]),
                "ours_over_theirs": round(statistics.median(ratios), 3),
                "ours_over_theirs_middle_half": between(ratios),
                "repeats": repeats,
                "machine": machine(),
            }
    finally:
        for candidate in running:
            candidate.stop()


def _precision(candidate: Running) -> str:
    return "bfloat16" if candidate.name.endswith("bfloat16") else "float32"


def check(config: Config, peers: list[str]) -> None:
    """Raise InputError if one of the peers is unknown, or has no such network."""
    for peer in peers:
        if peer not in PEERS:
            raise InputError(f"--peer={peer} is unknown for pairs; expected {' or '.join(PEERS)}")
    model, learning = config.model, config.learning
    differ = {
        "model": model.model != "transformer",
        "positions": model.positions != "sinusoidal",
        "norm": model.norm != "layer",
        "activation": model.activation == "swiglu",
        "biases": not model.biases,
        "post_norm": model.post_norm,
        "num_kv_heads": model.kv_heads != model.num_heads,
        "tie_embeddings": not model.tied,
        "optimizer": learning.optimizer != "adamw",
    }
    for name, bad in differ.items():
        if bad and peers:
            raise InputError(
                f"--{name}={config.flat()[name]}: --peer={peers[0]} has no such network or training; leave"
                " one of both out"
            )
