"""What a token costs as a text grows, and the first token of a prompt whose length is new."""

import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.training.environment import machine

LENGTHS = (64, 512, 960)
"""Tokens before those that are measured."""

TOKENS = 64
OTHER_LENGTHS = (45, 333)
"""Prompts of lengths that nothing was compiled for."""


def decode(config: Config, repeats: int) -> Iterator[dict]:
    """Measure a network with random weights and one row.

    Args:
        config: the settings, with a context of 1,024 tokens at least where the network has one.
        repeats: how often each is measured, in turn.

    Yields:
        For each length of the text before: milliseconds for each of 64 more tokens, without those of the
        prompt. Then for prompts of new lengths the milliseconds to their first token at the first time, and
        later.

    Raises:
        InputError: the context is too short, or the process fails.
    """
    needed = max(LENGTHS) + TOKENS
    if config.model.model == "gpt" and config.context_length < needed:
        raise InputError(
            f"--sequence_length={config.context_length}: texts of {needed:,} tokens are measured; make it as"
            " long"
        )
    ours = Running("lm_keras", config)
    try:
        ours.call("sample", 1, LENGTHS[0], TOKENS)  # Compiles.
        first = {length: ours.call("sample", 1, length, 1) for length in OTHER_LENGTHS}
        times: dict[int, list[float]] = {length: [] for length in LENGTHS}
        again: dict[int, list[float]] = {length: [] for length in OTHER_LENGTHS}
        for _ in range(repeats):
            for length in LENGTHS:
                prompt = ours.call("sample", 1, length, 1)
                times[length].append((ours.call("sample", 1, length, TOKENS) - prompt) / (TOKENS - 1))
            for length in OTHER_LENGTHS:
                again[length].append(ours.call("sample", 1, length, 1))
    finally:
        ours.stop()
    about = {"repeats": repeats, "machine": machine()}
    for length, values in times.items():
        yield {
            "tokens_before": length,
            "milliseconds": round(1000 * statistics.median(values), 2),
            "middle_half": between([1000 * value for value in values]),
            **about,
        }
    for length, values in again.items():
        yield {
            "tokens_before": length,
            "first_token_milliseconds": round(1000 * first[length]),
            "later_first_token_milliseconds": round(1000 * statistics.median(values)),
            **about,
        }
