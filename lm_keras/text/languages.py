"""Tokens of languages: what stands before a source and says in which language its target is."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np

from lm_keras.errors import InputError, nearest
from lm_keras.text.files import damaged, field


class LanguageTokens:
    """What a tokenizer does with tokens of languages. No text becomes such a token. They are its last ones,
    but for special tokens.

    Attributes:
        languages: those that have a token, in the order of their tokens.
    """

    languages: tuple[str, ...] = ()
    first_special: int
    vocab_size: int
    _token_bytes: list[bytes]

    def with_languages(self, languages: Iterable[str]) -> Self:
        """Return a copy with a token for each language that has none yet."""
        new = tuple(dict.fromkeys(name for name in languages if name not in self.languages))
        if not new:
            return self
        if self.first_special < self.vocab_size:  # Their numbers would be others.
            raise InputError(
                f"the tokenizer has special tokens of conversations, and the language {new[0]!r} would need a"
                " token before them; begin with a run that has none"
            )
        made = copy.copy(self)
        made.languages = (*self.languages, *new)
        made.vocab_size = self.vocab_size + len(new)
        made._token_bytes = [*self._token_bytes, *[b""] * len(new)]
        return made

    def language_ids(self, language: str | None) -> np.ndarray:
        """Return what stands before a source: the token of the language of its target, [1] int32, or nothing,
        [0], where the tokenizer has no languages.

        Raises:
            InputError: it does not have this one, or has some and none is given.
        """
        if language is None and not self.languages:
            return np.zeros(0, np.int32)
        if language not in self.languages:
            known = ", ".join(self.languages)
            what = f"the language {language!r}" if language else "no language of the target"
            told = f"expected one of {known}" if known else "this run was trained without languages"
            raise InputError(f"{what}{nearest(language or '', self.languages)}: {told}")
        return np.array([self.first_language + self.languages.index(language)], np.int32)

    @property
    def first_language(self) -> int:
        """Return the token of the first language; without any the token that would be it."""
        return self.first_special - len(self.languages)

    def language_label(self, token_id: int) -> str | None:
        """Return how the token of a language is written, for people; None for any other token.

        Example: `<2de>`.
        """
        if not self.first_language <= token_id < self.first_special:
            return None
        return f"<2{self.languages[token_id - self.first_language]}>"


def saved_languages(folder: Path, settings: dict[str, Any]) -> list[str]:
    """Return the languages that the settings of a saved tokenizer name.

    Raises:
        InputError: they are no names.
    """
    languages = field(folder, settings, "languages", list) if "languages" in settings else []
    if not all(isinstance(name, str) for name in languages):
        raise damaged(folder, "languages that are no names")
    return languages
