"""Callbacks for the project's own loop and for plain `fit`."""

from lm_keras.surroundings import require_backend

require_backend()

from lm_keras.callbacks.checkpoint import Checkpoint
from lm_keras.callbacks.early_stopping import EarlyStopping
from lm_keras.callbacks.generated_samples import GeneratedSamples
from lm_keras.callbacks.histograms import Histograms
from lm_keras.callbacks.metrics_file import MetricsFile
from lm_keras.callbacks.predictions import PredictionSamples
from lm_keras.callbacks.profile import Profile
from lm_keras.callbacks.progress import Progress
from lm_keras.callbacks.projector import Projector
from lm_keras.callbacks.samples import TextSamples
from lm_keras.callbacks.schedules import (
    DropoutSchedule,
    LearningRateSchedule,
    PlateauDecay,
    TokenNoiseSchedule,
)
from lm_keras.callbacks.tensorboard import TensorBoard

__all__ = [
    "Checkpoint",
    "DropoutSchedule",
    "EarlyStopping",
    "GeneratedSamples",
    "Histograms",
    "LearningRateSchedule",
    "MetricsFile",
    "PlateauDecay",
    "PredictionSamples",
    "Profile",
    "Progress",
    "Projector",
    "TensorBoard",
    "TextSamples",
    "TokenNoiseSchedule",
]
