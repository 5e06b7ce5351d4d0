"""How good a network is on text: whole splits, single texts, and blanks of words.

`SCORERS` maps each task to what scores single texts with its network.
"""

import keras

from lm_keras.evaluation.infill_scorer import InfillScorer
from lm_keras.evaluation.pseudo_likelihood import PseudoLikelihood
from lm_keras.evaluation.scorer import Scorer
from lm_keras.evaluation.text_scorer import TextScorer
from lm_keras.text.tokenizer import Tokenizer

SCORERS: dict[str, type[Scorer]] = {
    "causal_lm": TextScorer,
    "masked_lm": PseudoLikelihood,
    "infilling": InfillScorer,
}


def scorer_for(task: str, model: keras.Model, tokenizer: Tokenizer) -> Scorer:
    """Return what scores texts with the network of a task."""
    return SCORERS[task](model, tokenizer)
