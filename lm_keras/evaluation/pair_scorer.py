"""What a network that turns sources into targets says of given texts."""

from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import Scorer


class PairScorer(Scorer):
    """Refuses single texts: a target has a likelihood behind its source only.

    Args:
        model: the network.
        tokenizer: its tokenizer.
    """

    def __init__(self, model, tokenizer):
        self._model, self._tokenizer = model, tokenizer

    def score(self, texts: list[str]) -> list[dict]:
        """Refuse."""
        raise InputError("a model of pairs gives a single text no likelihood; use translate")
