"""What a network that turns sources into targets says of given texts."""

import keras

from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import Scorer
from lm_keras.text.tokenizer import Tokenizer


class PairScorer(Scorer):
    """Refuses single texts: a target has a likelihood behind its source only.

    Args:
        model: the network.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._tokenizer = model, tokenizer

    def score(self, texts: list[str]) -> list[dict]:
        """Refuse."""
        raise InputError(
            "a model of pairs gives a single text no likelihood; use translate, or evaluate with pairs"
        )

    def logits(self, ids):
        """Refuse."""
        raise InputError("a model of pairs has logits of a target behind its source; call `model` itself")

    def features(self, ids, segments=None):
        """Refuse."""
        raise InputError("a model of pairs has features of a target behind its source; call `model` itself")
