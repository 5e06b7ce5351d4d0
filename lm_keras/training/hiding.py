"""What a family hides of its rows to predict it."""

from lm_keras.config import Config
from lm_keras.data.blanks import Blanks
from lm_keras.layers.masking import Masking
from lm_keras.text.tokenizer import Tokenizer


def hiding_of(config: Config, vocab_size: int, tokenizer: Tokenizer | None = None) -> Masking | Blanks | None:
    """Return what hides tokens of the rows of a run, or None if its family predicts the next ones.

    Args:
        config: the settings.
        vocab_size: tokens of the text, where there is no tokenizer.
        tokenizer: with a `blank_id`; without one, for a trial, token 1 is the mask.

    Raises:
        InputError: there is nothing that could be hidden.
    """
    kind = {"bert": Masking, "glm": Blanks}.get(config.model.model)
    return kind and kind.of(config, vocab_size, tokenizer)
