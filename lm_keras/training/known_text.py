"""The text of a run as far as a dry run knows it: prepared if that is quick, else only read."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np

from lm_keras import text
from lm_keras.config import DataConfig
from lm_keras.corpora.documents import PIECE_BYTES
from lm_keras.data.columns import Column
from lm_keras.data.division import DividedText, divide
from lm_keras.data.labels import Labels
from lm_keras.data.preparation import PreparedData, is_prepared, prepare
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.data.tokenizers import saved_tokenizer
from lm_keras.text.tokenizer import Tokenizer

PREPARED_AT_ONCE_BYTES = 20_000_000
"""Text up to this size is prepared, into the cache, where the run will find it; that takes seconds."""


@dataclasses.dataclass(frozen=True)
class KnownText:
    """What is known of the text of a run.

    Attributes:
        vocab_size: V; for text that is not prepared what the settings say, or what its beginning has.
        data: the prepared text, or None.
        bytes: size of the text of all splits.
    """

    vocab_size: int
    data: PreparedData | None
    bytes: int

    def store(self, batch_size: int, sequence_length: int) -> TokenStore:
        """Return tokens to try the step with: those of the text, else random ones for a few steps."""
        if self.data:
            return self.data.splits["train"]
        return random_store(4 * batch_size * sequence_length, self.vocab_size)


def random_store(count: int, vocab_size: int) -> TokenStore:
    """Return a store of `count` random targets, to try a step with."""
    tokens = np.random.default_rng(1).integers(0, vocab_size, count + 1).astype(np.uint32)
    return TokenStore(tokens, np.array([1]), TextCounts(count, count, count, count))


def read_text(
    config: DataConfig,
    tokenizer: Tokenizer | None,
    say: Callable[[str], None],
    needs_mask: bool,
    begun: dict | None = None,
    columns: tuple[Column, ...] = (),
    fields: tuple[str, ...] = ("text",),
    labels: Labels | None = None,
) -> KnownText:
    """Read the text of a run; prepare it unless that takes long and no labels are needed. The arguments are
    those of `prepare`.

    Raises:
        InputError: for everything that text and settings can get wrong.
    """
    divided, has_labels = divide(config, say, begun, fields), fields != ("text",)
    small = divided.bytes <= PREPARED_AT_ONCE_BYTES
    if small or has_labels or is_prepared(config, divided, tokenizer, needs_mask, columns):
        data = prepare(
            config, tokenizer, say, divided, needs_mask, columns=columns, fields=fields, labels=labels
        )
        return KnownText(data.tokenizer.vocab_size, data, divided.bytes)
    tokenizer = tokenizer or saved_tokenizer(config, needs_mask)
    vocab_size = tokenizer.vocab_size if tokenizer else _expected_vocab_size(config, divided, needs_mask)
    return KnownText(vocab_size, None, divided.bytes)


def _expected_vocab_size(config: DataConfig, divided: DividedText, needs_mask: bool) -> int:
    settings = config.tokenizer_settings()
    mask = int(needs_mask and text.TOKENIZERS[config.tokenizer].mask_id is None)
    if settings["vocab_size"]:
        return settings["vocab_size"] + mask
    pieces = itertools.chain.from_iterable(
        document.pieces() for document in divided.splits["train"].documents()
    )
    beginning = itertools.islice(pieces, PREPARED_AT_ONCE_BYTES // PIECE_BYTES)
    return text.train_tokenizer(config.tokenizer, beginning, **settings).vocab_size + mask
