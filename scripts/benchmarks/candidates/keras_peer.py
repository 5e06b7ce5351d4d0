"""The same network as plain Keras layers, trained by `fit`: what a user of Keras would write."""

import time

import keras
import numpy as np

from lm_keras.config import Config
from lm_keras.errors import InputError


class KerasCandidate:
    """`Sequential(Embedding, LSTM ..., Dense)`, whose state is reset at every step; everything at Keras's
    defaults.
    """

    def __init__(self, config: Config):
        model, learning, batches = config.model, config.learning, config.batches
        keras.utils.set_random_seed(batches.seed)
        if config.learning.precision != "float32":
            keras.config.set_dtype_policy(learning.precision)
        dropout = [keras.layers.Dropout(model.dropout)] if model.dropout else []
        layers = [keras.layers.Embedding(config.data.vocab_size, model.embedding_dim), *dropout]
        for _ in range(model.num_layers):
            layers += [keras.layers.LSTM(model.units, return_sequences=True), *dropout]
        layers.append(keras.layers.Dense(config.data.vocab_size, dtype="float32"))
        self._model = keras.Sequential(layers)
        kind = type(keras.optimizers.get(learning.optimizer))
        optimizer = kind(learning.learning_rate, global_clipnorm=learning.clip_norm or None)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(optimizer, loss)
        self._batch_size, self._shape = batches.batch_size, (batches.batch_size, batches.sequence_length)
        self._vocab_size = config.data.vocab_size
        self._model.build((None, batches.sequence_length))
        self.parameters = self._model.count_params()
        self._rate: float | None = None

    def train(self, seconds: float) -> tuple[int, float]:
        """Fit rows for about this number of seconds, after a few that compile."""
        if self._rate is None:
            self._fit(2)
            steps, elapsed = self._fit(5)
            self._rate = steps / elapsed
        steps, elapsed = self._fit(max(5, round(seconds * self._rate)))
        self._rate = steps / elapsed
        return steps, elapsed

    def _fit(self, steps: int) -> tuple[int, float]:
        rows, length = self._shape
        tokens = np.random.default_rng(1).integers(0, self._vocab_size, (steps * rows, length + 1), np.int32)
        began = time.perf_counter()
        self._model.fit(tokens[:, :-1], tokens[:, 1:], batch_size=rows, shuffle=False, verbose=0)
        return steps, time.perf_counter() - began

    def sample(self, rows: int, tokens: int) -> float:
        """Raise InputError: Keras has nothing that samples from such a network."""
        raise InputError("--peer=keras_fit only trains; take --peer=torch to compare sampling")
