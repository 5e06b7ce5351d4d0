"""How many words a second the training of word embeddings goes over, beside gensim."""

import contextlib
import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.embeddings.settings import METHODS
from lm_keras.training.environment import machine


def embeddings(config: Config, peers: list[str], repeats: int, seconds: float) -> Iterator[dict]:
    """Train both methods on the words of a text, all candidates in turn, each in a process of its own.

    Args:
        config: `corpus`, `cache_dir` and `embedding_dim` say what is learnt.
        peers: `gensim`, or nothing.
        repeats: how often each is measured.
        seconds: length of one measurement.

    Yields:
        For each method and candidate the words of the text a second, the time that all cores together take
        for one, the vectors that are learnt, and the most main memory of its process; for gensim also the
        ratio of its time to ours, pair by pair.

    Raises:
        InputError: the text cannot be read, or a process fails.
    """
    for method in METHODS:
        names = {"lm_keras": method, **{peer: f"{peer}_{method}" for peer in peers}}
        with contextlib.ExitStack() as stack:
            running = {name: Running(key, config) for name, key in names.items()}
            for each in running.values():
                stack.callback(each.stop)
                each.call("train", 0.0)  # The first one compiles.
            rates: dict[str, list[float]] = {name: [] for name in running}
            cores: dict[str, list[float]] = {name: [] for name in running}
            for repeat in range(repeats):
                for name in [*running][:: -1 if repeat % 2 else 1]:
                    words, elapsed, of_cores = running[name].call("train", seconds)
                    rates[name].append(words / elapsed)
                    cores[name].append(1e6 * of_cores / words)
            for name, each in running.items():
                result = {
                    "candidate": name,
                    "method": method,
                    "vectors": each.call("vectors"),
                    "words_per_second": round(statistics.median(rates[name])),
                    "middle_half": between(rates[name]),
                    "core_microseconds_per_word": round(statistics.median(cores[name]), 2),
                    "peak_mebibytes": round(each.peak_mebibytes()),
                }
                if name != "lm_keras":
                    ratios = [ours / theirs for ours, theirs in zip(rates["lm_keras"], rates[name])]
                    result |= {
                        "times_faster": round(statistics.median(ratios), 2),
                        "times_faster_middle_half": between(ratios),
                    }
                yield {**result, "repeats": repeats, "machine": machine()}
