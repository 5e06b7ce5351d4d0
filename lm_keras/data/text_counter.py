"""What the tokens of a split say: bytes, words and characters."""

import numpy as np

from lm_keras.text import count_words
from lm_keras.text.pieces import Piece
from lm_keras.text.tokenizer import Tokenizer


class TextCounter:
    """Counts what the tokens of a split say, piece by piece.

    Attributes:
        raw_size: UTF-8 bytes of the pieces themselves.
        bytes, words, characters, unknown: see `TextCounts`.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self.raw_size = self.bytes = self.words = self.characters = self.unknown = 0
        self.begin_document()

    def begin_document(self) -> None:
        """Forget how the piece before ended: in the middle of a word, or with a line feed."""
        self._within_word = self._ends_line = False

    def add(self, piece: str, ids: np.ndarray, said: str, is_last: bool) -> None:
        """Count a piece; the arguments are those that `_encoded` yields."""
        self.raw_size += len(piece.encode())
        self.bytes += len(said.encode())
        # White space at a word tokenizer's ends is in the piece alone.
        shown = said if isinstance(piece, Piece) else piece
        self._ends_line = said[-1:] == "\n" or (not said and self._ends_line)
        line_ends = said.count("\n") + (is_last and not self._ends_line)
        joined = self._within_word and shown and not shown[0].isspace()
        self.words += count_words(said) + line_ends - bool(joined)
        self._within_word = not shown[-1].isspace() if shown else self._within_word
        self.characters += len(said)
        self.unknown += self._tokenizer.count_unknown(piece, ids)
