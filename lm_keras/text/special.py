"""Special tokens, which a chat template writes between the texts of a conversation; and the template."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from lm_keras.errors import InputError
from lm_keras.text.files import damaged, field, read_bytes

TEMPLATE_FILE = "chat_template.jinja"
"""File of a saved tokenizer that has a chat template."""


class SpecialTokens:
    """What a tokenizer does with special tokens. No text becomes such a token, whatever its letters.

    Attributes:
        own_special: those that the vocabulary has anyway: name -> token.
        added_special: the names of those that were added to the vocabulary, which are its last tokens.
        chat_template: the source of the template that makes a text of a conversation, or None.
        chat_variables: what that template may read beside a conversation, such as `bos_token`.
    """

    own_special: Mapping[str, int] = {}
    added_special: tuple[str, ...] = ()
    chat_template: str | None = None
    chat_variables: Mapping[str, Any] = {}
    vocab_size: int
    _token_bytes: list[bytes]

    @property
    def special_tokens(self) -> dict[str, int]:
        """Return all special tokens: name -> token."""
        added = {name: self.first_special + number for number, name in enumerate(self.added_special)}
        return {**self.own_special, **added}

    @property
    def first_special(self) -> int:
        """Return the first special token that was added; without any the size of the vocabulary."""
        return self.vocab_size - len(self.added_special)

    def with_special_tokens(self, names: Iterable[str]) -> Self:
        """Return a copy with a special token for each name that has none yet.

        Example:
            >>> words = WordTokenizer(["the", "cat"], normalization="none")
            >>> words.with_special_tokens(["<|im_start|>", "<|im_end|>"]).special_tokens
            {'<|im_start|>': 5, '<|im_end|>': 6}
        """
        known = self.special_tokens
        new = tuple(dict.fromkeys(name for name in names if name not in known))
        if not new:
            return self
        made = copy.copy(self)
        made.added_special = (*self.added_special, *new)
        made.vocab_size = self.vocab_size + len(new)
        made._token_bytes = [*self._token_bytes, *[b""] * len(new)]
        return made

    def without_chat(self) -> Self:
        """Return a copy without the special tokens that were added and without a chat template."""
        made = self.with_chat_template(None)
        made.added_special, made.vocab_size = (), self.first_special
        made._token_bytes = self._token_bytes[: self.first_special]
        return made

    def with_chat_template(self, source: str | None, variables: Mapping[str, Any] | None = None) -> Self:
        """Return a copy with another chat template, and what it may read beside a conversation."""
        made = copy.copy(self)
        made.chat_template, made.chat_variables = source, dict(variables or {})
        return made

    def special_label(self, token_id: int) -> str | None:
        """Return the name of a special token that was added; None for any other token."""
        index = token_id - self.first_special
        return self.added_special[index] if index >= 0 else None


def saved_special(folder: Path, settings: dict[str, Any]) -> tuple[list[str], str | None, dict[str, Any]]:
    """Return the added special tokens that the settings of a saved tokenizer name, its chat template, and
    what that may read beside a conversation.

    Raises:
        InputError: they are no names, or the template cannot be read.
    """
    names = field(folder, settings, "special_tokens", list) if "special_tokens" in settings else []
    if not all(isinstance(name, str) and name for name in names):
        raise damaged(folder, "special tokens that are no names")
    variables = field(folder, settings, "chat_variables", dict) if "chat_variables" in settings else {}
    path = folder / TEMPLATE_FILE
    if not path.exists():
        return names, None, {}
    try:
        return names, read_bytes(path).decode("utf-8"), variables
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; restore it from a copy") from None
