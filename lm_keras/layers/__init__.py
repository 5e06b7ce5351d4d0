"""Layers that any family may use."""

from lm_keras.surroundings import require_backend

require_backend()

from lm_keras.layers.dropout import ScheduledDropout
from lm_keras.layers.noise import TokenNoise
from lm_keras.layers.recurrent import LSTM

__all__ = ["LSTM", "ScheduledDropout", "TokenNoise"]
