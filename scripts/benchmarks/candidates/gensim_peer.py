"""gensim's Word2Vec on the same words; nothing here imports TensorFlow."""

import os
import time

from benchmarks.candidates.embeddings import text_of, words_of
from lm_keras.config import Config
from lm_keras.embeddings.settings import RATES, EmbeddingConfig

LONGEST = 10_000
"""Words of a sentence; gensim leaves out those behind them."""


class GensimCandidate:
    """Word2Vec with the same settings, sentences in memory, and a thread for each core."""

    method: str

    def __init__(self, config: Config):
        from gensim.models import Word2Vec

        data, settings = text_of(config), EmbeddingConfig()
        spelled = ["", "", "", *data.tokenizer.words]
        tokens = data.splits["train"].tokens
        bounds = [*data.splits["train"].documents.tolist(), len(tokens)]
        documents = [
            [spelled[i] for i in tokens[begin:end].tolist() if i > 2]
            for begin, end in zip(bounds, bounds[1:])
        ]
        self._sentences = [
            document[begin : begin + LONGEST]
            for document in documents
            for begin in range(0, len(document), LONGEST)
        ]
        self._words = words_of(data)
        self._model = Word2Vec(
            vector_size=config.model.embedding_dim,
            window=settings.window,
            negative=settings.negatives,
            sample=settings.subsample,
            min_count=settings.min_count,
            sg=int(self.method == "skipgram"),
            alpha=RATES["skipgram"],
            workers=len(os.sched_getaffinity(0)),
        )
        self._model.build_vocab(self._sentences)
        self.vectors = len(self._model.wv)

    def train(self, seconds: float) -> tuple[int, float, float]:
        """Train for this number of seconds or a little more, whole passes; return what our
        candidate returns.
        """
        passes, began, before = 0, time.perf_counter(), time.process_time()
        while True:
            self._model.train(self._sentences, total_examples=len(self._sentences), epochs=1)
            passes += 1
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                return passes * self._words, elapsed, time.process_time() - before


class GensimSkipGram(GensimCandidate):
    """The candidate that predicts the words around a word."""

    method = "skipgram"


class GensimCbow(GensimCandidate):
    """The candidate that predicts a word from those around it."""

    method = "cbow"
