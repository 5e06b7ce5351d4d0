"""Our own training of word embeddings, as a candidate, and the text that all candidates read."""

import contextlib
import time

import numpy as np

from lm_keras.config import Config, DataConfig
from lm_keras.data.preparation import PreparedData, prepare
from lm_keras.embeddings.settings import EmbeddingConfig


def text_of(config: Config) -> PreparedData:
    """Return the words of the whole text, tokenized."""
    data = config.data
    return prepare(
        DataConfig(corpus=data.corpus, tokenizer="word", split="100/0/0", cache_dir=data.cache_dir)
    )


def words_of(data: PreparedData) -> int:
    """Return how many words a text has; ends of lines and documents are none."""
    return int(data.splits["train"].frequencies(data.tokenizer.vocab_size)[3:].sum())


class EmbeddingCandidate:
    """Our training, batches included."""

    method: str

    def __init__(self, config: Config):
        from lm_keras.embeddings.batches import Batches, WordVocabulary
        from lm_keras.embeddings.tables import Tables

        data = text_of(config)
        settings = EmbeddingConfig(method=self.method, embedding_dim=config.model.embedding_dim)
        store, vocab_size = data.splits["train"], data.tokenizer.vocab_size
        vocabulary = WordVocabulary.of(data.tokenizer, store.frequencies(vocab_size), settings)
        self.vectors = int(np.count_nonzero(vocabulary.counts))
        self._batches, self._tables = Batches(store, vocabulary, settings), Tables(vocab_size, settings)
        self._rate, self._step = settings.rate, 0
        self._words_in_token = words_of(data) / store.counts.tokens

    def train(self, seconds: float) -> tuple[float, float, float]:
        """Train for about this number of seconds; return the words of the text, and the seconds of the clock
        and of all cores.
        """
        from lm_keras.embeddings.batches import ahead

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


class SkipGram(EmbeddingCandidate):
    """The candidate that predicts the words around a word."""

    method = "skipgram"


class Cbow(EmbeddingCandidate):
    """The candidate that predicts a word from those around it."""

    method = "cbow"
