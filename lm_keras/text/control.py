"""Control tokens, which a chat template writes between the texts of a conversation; and the template."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from lm_keras.errors import InputError
from lm_keras.text.files import damaged, field, read_bytes

TEMPLATE_FILE = "chat_template.jinja"
"""File of a saved tokenizer that has a chat template."""


class ControlTokens:
    """What a tokenizer does with control tokens. No text becomes such a token, whatever its letters.

    Attributes:
        own_controls: those that the vocabulary has anyway: name -> token.
        added_controls: the names of those that were added to the vocabulary, which are its last tokens.
        chat_template: the source of the template that makes a text of a conversation, or None.
    """

    own_controls: Mapping[str, int] = {}
    added_controls: tuple[str, ...] = ()
    chat_template: str | None = None
    vocab_size: int
    _token_bytes: list[bytes]

    @property
    def control_tokens(self) -> dict[str, int]:
        """Return all control tokens: name -> token."""
        added = {name: self.first_control + number for number, name in enumerate(self.added_controls)}
        return {**self.own_controls, **added}

    @property
    def first_control(self) -> int:
        """Return the first control token that was added; without any the size of the vocabulary."""
        return self.vocab_size - len(self.added_controls)

    def with_control_tokens(self, names: Iterable[str]) -> Self:
        """Return a copy with a control token for each name that has none yet.

        Example:
            >>> words = WordTokenizer(["the", "cat"], normalization="none")
            >>> words.with_control_tokens(["<|im_start|>", "<|im_end|>"]).control_tokens
            {'<|im_start|>': 5, '<|im_end|>': 6}
        """
        known = self.control_tokens
        new = tuple(dict.fromkeys(name for name in names if name not in known))
        if not new:
            return self
        made = copy.copy(self)
        made.added_controls = (*self.added_controls, *new)
        made.vocab_size = self.vocab_size + len(new)
        made._token_bytes = [*self._token_bytes, *[b""] * len(new)]
        return made

    def with_chat_template(self, source: str | None) -> Self:
        """Return a copy with another chat template."""
        made = copy.copy(self)
        made.chat_template = source
        return made

    def control_label(self, token_id: int) -> str | None:
        """Return the name of a control token that was added; None for any other token."""
        index = token_id - self.first_control
        return self.added_controls[index] if index >= 0 else None


def saved_controls(folder: Path, settings: dict[str, Any]) -> tuple[list[str], str | None]:
    """Return the added control tokens that the settings of a saved tokenizer name, and its chat template.

    Raises:
        InputError: they are no names, or the template cannot be read.
    """
    names = field(folder, settings, "control_tokens", list) if "control_tokens" in settings else []
    if not all(isinstance(name, str) and name for name in names):
        raise damaged(folder, "control tokens that are no names")
    path = folder / TEMPLATE_FILE
    if not path.exists():
        return names, None
    try:
        return names, read_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; restore it from a copy") from None
