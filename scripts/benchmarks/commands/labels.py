"""How fast a network with labels trains, in tokens of the text a second, beside PyTorch."""

import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.training.environment import machine


def labels(config: Config, peers: list[str], repeats: int, seconds: float) -> Iterator[dict]:
    """Train on the text of a run, all candidates in turn, each in a process of its own.

    Args:
        config: the settings of a run of `--task=classification`.
        peers: of `torch_labels` and `torch_labels_bfloat16`.
        repeats: how often each is measured.
        seconds: length of one measurement.

    Yields:
        For each candidate its tokens a second, padding and special tokens left out, with the middle half.

    Raises:
        InputError: a process fails.
    """
    running = [Running(name, config) for name in ("labels", *peers)]
    try:
        for candidate in running:
            candidate.call("train", 0.0)
        speeds: dict[str, list[float]] = {candidate.name: [] for candidate in running}
        for repeat in range(repeats):
            for candidate in running if repeat % 2 else running[::-1]:
                tokens, elapsed = candidate.call("train", seconds)
                speeds[candidate.name].append(tokens / elapsed)
        ours = speeds["labels"]
        for candidate in running:
            values = speeds[candidate.name]
            ratios = [our / theirs for our, theirs in zip(ours, values)]
            yield {
                "candidate": candidate.name,
                "parameters": candidate.call("parameters"),
                "tokens_per_second": round(statistics.median(values)),
                "middle_half": between(values),
                "times_faster": round(statistics.median(ratios), 3),
                "times_faster_middle_half": between(ratios),
                "repeats": repeats,
                "machine": machine(),
            }
    finally:
        for candidate in running:
            candidate.stop()
