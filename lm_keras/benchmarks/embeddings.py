"""How many words a second the training of word embeddings goes over, beside gensim."""

import contextlib
import statistics
import time
from collections.abc import Iterator

import numpy as np

from lm_keras.benchmarks.candidates import Running
from lm_keras.benchmarks.train import between
from lm_keras.config import Config, DataConfig
from lm_keras.data.store import PreparedData, prepare
from lm_keras.embeddings.settings import METHODS, EmbeddingConfig
from lm_keras.training.environment import machine


def embeddings(config: Config, peers: list[str], repeats: int, seconds: float) -> Iterator[dict]:
    """Train both methods on the words of a text, all candidates in turn, each in a process of its own.

    Args:
        config: `corpus`, `cache_dir` and `embedding_dim` say what is learnt.
        peers: `gensim`, or nothing.
        repeats: how often each is measured.
        seconds: length of one measurement.

    Yields:
        For each method and candidate the words of the text a second, the time that all cores together take for one, the
        vectors that are learnt, and the most main memory of its process; for gensim also the ratio of its time to ours, pair by pair.

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


def text_of(config: Config) -> PreparedData:
    """Return the words of the whole text, tokenized."""
    data = config.data
    return prepare(
        DataConfig(corpus=data.corpus, tokenizer="word", split="100/0/0", cache_dir=data.cache_dir)
    )


def words_of(data: PreparedData) -> int:
    """Return how many words a text has; ends of lines and documents are none."""
    return int(data.splits["train"].frequencies(data.tokenizer.vocab_size)[3:].sum())


class Candidate:
    """Our training, batches included."""

    method: str

    def __init__(self, config: Config):
        from lm_keras.embeddings.batches import Batches, Vocabulary
        from lm_keras.embeddings.tables import Tables

        data = text_of(config)
        settings = EmbeddingConfig(method=self.method, embedding_dim=config.model.embedding_dim)
        store, vocab_size = data.splits["train"], data.tokenizer.vocab_size
        vocabulary = Vocabulary.of(data.tokenizer, store.frequencies(vocab_size), settings)
        self.vectors = int(np.count_nonzero(vocabulary.counts))
        self._batches, self._tables = Batches(store, vocabulary, settings), Tables(vocab_size, settings)
        self._rate, self._step = settings.rate, 0
        self._words_in_token = words_of(data) / store.counts.tokens

    def train(self, seconds: float) -> tuple[float, float, float]:
        """Train for about so many seconds; return the words of the text, and the seconds of the clock and of all cores."""
        from lm_keras.embeddings.training import ahead

        tokens, began, before = 0, time.perf_counter(), time.process_time()
        with contextlib.closing(ahead(self._batches, self._step, self._step + 10**9)) as batches:
            for batch in batches:
                self._tables.step(batch, self._rate)
                self._step += 1
                tokens += batch.words
                elapsed = time.perf_counter() - began
                if elapsed >= seconds:
                    return tokens * self._words_in_token, elapsed, time.process_time() - before
        raise AssertionError("there is no end of batches")


def of_method(method: str) -> type[Candidate]:
    """Return the candidate that learns by a method."""
    return type(method, (Candidate,), {"method": method})
