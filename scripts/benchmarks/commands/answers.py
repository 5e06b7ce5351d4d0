"""How fast a run that holds conversations answers, beside transformers and llama.cpp with its weights."""

import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.training.environment import machine

QUESTION = "Write a long story about a ship at sea."
TOKENS = 64
"""Of an answer, at most."""


def answers(run_dir: str, peers: list[str], repeats: int) -> Iterator[dict]:
    """Ask for a greedy answer, all candidates in turn, each in a process of its own.

    Args:
        run_dir: folder of the run.
        peers: candidates beside our own sampler, as `--peer` names them.
        repeats: how often each is asked.

    Yields:
        For each candidate: milliseconds to the first token; tokens a second after it, the middle half, and
        for a peer the ratio of its time for a token to ours, in turn.

    Raises:
        InputError: a process fails.
    """
    running = [Running(name, run_dir) for name in ["answers", *peers]]
    try:
        for candidate in running:
            for tokens in (1, TOKENS):  # Each may have a program of its own, which is compiled now.
                candidate.call("answer", QUESTION, tokens)
        first: dict[str, list[float]] = {candidate.name: [] for candidate in running}
        each: dict[str, list[float]] = {candidate.name: [] for candidate in running}
        for repeat in range(repeats):
            for candidate in running if repeat % 2 else running[::-1]:
                _, until_first = candidate.call("answer", QUESTION, 1)
                count, until_last = candidate.call("answer", QUESTION, TOKENS)
                first[candidate.name].append(until_first)
                each[candidate.name].append((until_last - until_first) / (count - 1))
        for candidate in running:
            own = candidate is running[0]
            speeds = [1 / seconds for seconds in each[candidate.name]]
            ratios = [theirs / ours for theirs, ours in zip(each[candidate.name], each["answers"])]
            yield {
                "candidate": "lm_keras" if own else candidate.name.removeprefix("answers_"),
                "milliseconds_to_first_token": round(1000 * statistics.median(first[candidate.name])),
                "tokens_per_second": round(statistics.median(speeds), 1),
                "middle_half": between(speeds),
                "times_faster": None if own else round(statistics.median(ratios), 3),
                "times_faster_middle_half": None if own else between(ratios),
                "repeats": repeats,
                "machine": machine(),
            }
    finally:
        for candidate in running:
            candidate.stop()
