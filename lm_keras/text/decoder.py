"""Ids into text as they arrive."""

import codecs
from collections.abc import Iterable
from typing import Protocol


class Spelling(Protocol):
    """What a decoder asks of a tokenizer."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token says."""


class Decoder:
    """Turns ids into text as they arrive, never handing out half a character.

    Example:
        >>> decoder = tokenizer.decoder()            # ids 195 and 164 are the two bytes of "ä"
        >>> decoder.push([195]), decoder.push([164]), decoder.finish()
        ('', 'ä', '')
    """

    def __init__(self, tokenizer: Spelling):
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        """Take more ids and return the text that is complete by now."""
        return self._utf8.decode(b"".join(map(self._tokenizer.token_bytes, ids)))

    def finish(self) -> str:
        """Return what is left; bytes that never became a character are one U+FFFD."""
        return self._utf8.decode(b"", final=True)
