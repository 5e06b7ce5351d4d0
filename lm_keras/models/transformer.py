"""The encoder-decoder Transformer."""

import keras

from lm_keras.config import Config


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    raise NotImplementedError


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    raise NotImplementedError
