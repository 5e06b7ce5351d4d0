"""What a family hides of its rows to predict it, and which rows these are."""

from lm_keras.config import Config
from lm_keras.data import order as orders
from lm_keras.data.blanks import Blanks
from lm_keras.data.masking import Masking
from lm_keras.data.store import TokenStore
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


def order_of(config: Config, store: TokenStore, hiding: Masking | Blanks | None):
    """Return which rows of a text each step of a run sees.

    Args:
        config: the settings.
        store: the text.
        hiding: what hides tokens of the rows, which says how long they are; None for none.
    """
    batches = config.batches
    sentences = isinstance(hiding, Masking) and hiding.sentences
    return orders.build(
        config.batching,
        len(store.tokens) - 1,
        batches.batch_size,
        hiding.text_length if hiding else batches.sequence_length,
        batches.seed,
        batches.state_reset,
        len(store.documents),
        hiding.begins(store.tokens, hiding.text_length) if sentences else None,
    )
