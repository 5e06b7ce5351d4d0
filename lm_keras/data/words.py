"""From texts to classify, and from words to tag, to tokens; no text and no word is without one."""

import functools
from collections.abc import Iterable

import numpy as np

from lm_keras.text.tokenizer import Tokenizer

REMEMBERED_WORDS = 2**16
"""Words whose tokens are kept, because the same words come again and again."""


def token_of_nothing(tokenizer: Tokenizer) -> int:
    """Return the token of a word or a text of which the tokenizer makes none: the unknown one, if any."""
    known = (tokenizer.unknown_id, tokenizer.mask_id, *tokenizer.encode_inside("."), 0)
    return next(token for token in known if token is not None)


def encoded_text(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Return the tokens of a text to classify, or of a side of a pair, as a store has them, [n] int32;
    there is at least one.
    """
    tokens = tokenizer.encode_array(text)
    return tokens if len(tokens) else np.array([token_of_nothing(tokenizer)], np.int32)


def encoded_source(tokenizer: Tokenizer, text: str, language: str | None = None) -> np.ndarray:
    """Return the tokens of the source of a pair, behind that of the language of its target, [n] int32.

    Args:
        tokenizer: makes the tokens.
        text: the source.
        language: of the target; None for a tokenizer without languages.

    Raises:
        InputError: the tokenizer does not have the language, or has some and none is given.
    """
    return np.concatenate([tokenizer.language_ids(language), encoded_text(tokenizer, text)])


class WordEncoder:
    """Encodes words, so that each keeps a token of its own.

    A word is encoded with a space before it, the first one of a text, too. So a word has the same tokens
    everywhere. A word of which the tokenizer makes no token, such as a control character, gets
    `nothing`: no word loses its tag.

    Args:
        tokenizer: makes the tokens.

    Attributes:
        nothing: see `token_of_nothing`.

    Example: of a tokenizer that spells `Hanoi` with the pieces `␣Han` and `oi`

        >>> tokens, firsts = WordEncoder(tokenizer)(["in", "Hanoi", "."])
        >>> [tokenizer.label(token) for token in tokens], firsts.tolist()
        (['␣in', '␣Han', 'oi', '␣', '.'], [0, 1, 4])

    Reference: Devlin et al. (2019), section 5.3: a word is tagged at its first piece.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self.nothing = tokenizer, token_of_nothing(tokenizer)
        self._of_word = functools.lru_cache(REMEMBERED_WORDS)(self._encoded)

    def __call__(self, words: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of the words, [n] int32, and where each word begins, [words] int64.

        A word begins at its first token that is more than white space.
        """
        encoded = [self._of_word(word) for word in words]
        if not encoded:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        sizes = np.array([len(tokens) for tokens, _, _ in encoded])
        firsts = np.cumsum(sizes) - sizes + np.array([first for _, first, _ in encoded])
        return np.concatenate([tokens for tokens, _, _ in encoded]), firsts

    def is_empty(self, word: str) -> bool:
        """Tell whether the tokenizer makes no token of a word."""
        return self._of_word(word)[2]

    def _encoded(self, word: str) -> tuple[np.ndarray, int, bool]:
        found = self._tokenizer.encode_inside(f" {word}")
        tokens = found or [self.nothing]
        white = [self._tokenizer.token_bytes(token).isspace() for token in tokens]
        return np.array(tokens, np.int32), white.index(False) if False in white else 0, not found
