"""Bytes as tokens."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_keras.errors import InputError
from lm_keras.text.files import SETTINGS_FILE
from lm_keras.text.tokenizer import Tokenizer

FIRST_BYTE_ID = 1  # after <eod>
VOCAB_SIZE = FIRST_BYTE_ID + 256


class ByteTokenizer(Tokenizer):
    r"""One token a byte of the text in UTF-8.

    Ids: 0 end of document, then 1 more than the byte, then the mask token where one is reserved. Nothing is
    learnt from a text, nothing is unknown, and every text survives the round trip.

    Example:
        >>> tokenizer = ByteTokenizer(normalization="none")
        >>> tokenizer.encode("aä\n"), tokenizer.decode([98, 196, 165, 11])
        ([98, 196, 165, 11], 'aä\n')

    Reference:
        Xue et al. (2022), "ByT5: Towards a token-free future with pre-trained byte-to-byte models", section
        3.
    """

    name = "byte"
    lossless = True
    learns_from_train = False

    def __init__(self, normalization: str):
        """Make the tokenizer; the normalization is all that can be chosen."""
        super().__init__(normalization, [b"", *(bytes([byte]) for byte in range(256))])

    @classmethod
    def train(cls, texts: Iterable[str], settings: Mapping[str, Any]) -> "ByteTokenizer":
        """Return the tokenizer, for which no text is needed.

        Raises:
            InputError: a `vocab_size` is asked for that it does not have.
        """
        vocab_size = settings["vocab_size"]
        if vocab_size not in (None, VOCAB_SIZE):
            raise InputError(
                f"vocab_size is {vocab_size}, but the byte tokenizer always has {VOCAB_SIZE} tokens (<eod> "
                "and the bytes); leave vocab_size out"
            )
        return cls(settings["normalization"])

    def _encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) + FIRST_BYTE_ID

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some ids, all at once; see `Tokenizer.decode`."""
        ids = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64)
        for wrong in ids[(ids < 0) | (ids >= self.vocab_size)][:1]:
            self.token_bytes(int(wrong))  # raises
        if self.mask_id is not None and self.mask_id in ids:
            return super().decode(ids.tolist())
        found = ids[(ids != self.eod_id) & (ids < self.first_language)] - FIRST_BYTE_ID
        return found.astype(np.uint8).tobytes().decode("utf-8", "replace")

    def _files(self) -> dict[str, bytes]:
        return {SETTINGS_FILE: self._settings_file()}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "ByteTokenizer":
        return cls(settings["normalization"])
