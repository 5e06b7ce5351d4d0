"""How good a network is on text: whole splits, single texts, and cloze items.

`SCORERS` maps each task to what scores single texts with its network, as the rows of
`lm_keras.registry.TASKS` say.
"""

import keras

from lm_keras import registry
from lm_keras.evaluation.scorer import Scorer
from lm_keras.text.tokenizer import Tokenizer

SCORERS: dict[str, type[Scorer]] = {
    name: registry.imported("evaluation", row.scorer) for name, row in registry.TASKS.items()
}


def scorer_for(task: str, model: keras.Model, tokenizer: Tokenizer) -> Scorer:
    """Return what scores texts with the network of a task."""
    return SCORERS[task](model, tokenizer)
