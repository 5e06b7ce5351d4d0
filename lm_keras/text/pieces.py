"""Parts of a document that know their tokens."""

import numpy as np


class Piece(str):
    """A part of a document that knows its tokens, because they depend on the text around it.

    Attributes:
        ids: the tokens of this part, int32 [T].
        said: what they say; the parts of a document, joined, are what its tokens say.
        maker: what encoded it; another tokenizer takes a piece for a plain string.
    """

    def __new__(cls, text: str, ids: np.ndarray, said: str, maker: object) -> "Piece":
        """Return the text with its tokens."""
        made = super().__new__(cls, text)
        made.ids, made.said, made.maker = ids, said, maker
        return made
