"""What every tokenizer can do: text to ids, ids to text, to and from a folder."""

import abc
import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_keras.disk.files import write_atomically
from lm_keras.errors import InputError
from lm_keras.text import normalization as normal_forms
from lm_keras.text.decoder import Decoder
from lm_keras.text.files import SETTINGS_FILE, damaged, field, read_settings, write_settings
from lm_keras.text.languages import LanguageTokens, saved_languages
from lm_keras.text.names import printable
from lm_keras.text.special import TEMPLATE_FILE, SpecialTokens, saved_special
from lm_keras.text.spelled import Special, Spelled, in_parts

REPLACEMENT = "\ufffd".encode()  # what an unknown token decodes to


class Tokenizer(LanguageTokens, SpecialTokens, abc.ABC):
    r"""A map between strings and lists of token ids.

    Contract: `encode(a + b) == encode(a) + encode(b)` whenever `a` ends with a line feed and both are pieces
    as `pieces` yields them, so a document may be encoded in pieces. `decode(encode(x)) == canonical(x)` for
    every string of Unicode scalar values if `lossless`, and for every `x` in which nothing is unknown
    otherwise. `canonical` is `normalize`, but for tokenizers that do not
    keep every text: the word tokenizer, which does not keep white space, and those of other projects, of
    which `canonical` is measured. A special token's name in a text is ordinary text, and `decode` is the
    UTF-8 reading of the tokens' bytes.

    Attributes:
        name: the key in `lm_keras.text.TOKENIZERS`.
        vocab_size: number of ids; ids are 0 to `vocab_size - 1`.
        normalization: name of the Unicode normalization that `encode` applies first.
        eod_id: end of a document; `encode` never yields it.
        begin_id: the context that a document starts from, for most tokenizers `eod_id` again; `encode` never
            yields it.
        unknown_id: the id of what the vocabulary lacks, or None if that cannot occur.
        mask_id: a token that says nothing of the text, for masks and noise, or None: the unknown one of
            `char` and `sentencepiece`, also where no text ever becomes unknown; of others the one that
            `with_mask` adds.
        reserves_mask: whether `mask_id` is a token of its own, the last one but for languages and control
            tokens.
        joins_spaces: whether a token that begins a word has the space before it.
        learns_from_train: whether it learns from the training text alone, and not from the whole corpus.
        lossless: whether the round trip holds for every string of Unicode scalar values.
        warning: what speaks against this kind of tokenizer for the text it was learnt from, or None.
    """

    name: str
    eod_id: int = 0
    begin_id: int = 0
    unknown_id: int | None = None
    mask_id: int | None = None
    reserves_mask: bool = False
    joins_spaces: bool = False
    learns_from_train: bool = True
    lossless: bool = False
    warning: str | None = None

    def __init__(self, normalization: str, token_bytes: list[bytes]):
        """Keep the normalization's name and the UTF-8 bytes of every token, by id."""
        self.normalization = normal_forms.check_form(normalization)
        self.vocab_size = len(token_bytes)
        self._token_bytes = token_bytes

    @classmethod
    def train(cls, texts: Iterable[str], settings: Mapping[str, Any]) -> "Tokenizer":
        """Learn a tokenizer from a corpus; kinds that are only read from a folder do not define this.

        Args:
            texts: the corpus in pieces, cut after line feeds; read at most once.
            settings: `vocab_size`, `normalization` and what else `DataConfig.tokenizer_settings` returns;
                each kind takes what it needs.

        Raises:
            InputError: a setting is wrong, or the corpus does not allow that size.
        """
        raise TypeError(f"a {cls.name} tokenizer is not learnt from a text")

    @abc.abstractmethod
    def _encode(self, text: str) -> np.ndarray:
        """Encode a normalized text of Unicode scalar values to int32 [T]."""

    @abc.abstractmethod
    def _files(self) -> dict[str, bytes]:
        """Return the content of every file that `save` writes, by file name, the settings last."""

    @classmethod
    @abc.abstractmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "Tokenizer":
        """Build the tokenizer from checked settings and the other files of the folder."""

    @property
    def special_ids(self) -> set[int]:
        """Return the ids that stand for no text: begin and end of a document, unknown and mask
        token, if any.
        """
        named = range(self.first_language, self.vocab_size)
        return {self.begin_id, self.eod_id, self.unknown_id, self.mask_id, *named} - {None}

    def with_mask(self) -> "Tokenizer":
        """Return a tokenizer that has a `mask_id`: this one, or a copy with a token that no text becomes.

        Example:
            >>> words = WordTokenizer(["the", "cat"], normalization="none")
            >>> words.vocab_size, words.with_mask().vocab_size, words.with_mask().mask_id
            (5, 6, 5)
        """
        return self if self.mask_id is not None else self._reserving_mask()

    def _reserving_mask(self) -> "Tokenizer":
        """Return a copy with one token more, the mask token, before those of languages and special tokens."""
        made = copy.copy(self)
        made.mask_id, made.reserves_mask = self.first_language, True
        made.languages, made.added_special, made.vocab_size = (), (), self.first_language + 1
        made._token_bytes = [*self._token_bytes[: self.first_language], REPLACEMENT]
        return made.with_languages(self.languages).with_special_tokens(self.added_special)

    @property
    def own_size(self) -> int:
        """Return the tokens without those that are reserved beside the vocabulary."""
        return self.first_language - self.reserves_mask

    def normalize(self, text: str) -> str:
        """Return `text` in this tokenizer's normalization form."""
        return normal_forms.normalize(text, self.normalization)

    def canonical(self, text: str) -> str:
        """Return what the tokens of a text say, which `decode` gives back where nothing is unknown."""
        return self.normalize(text)

    def encode_array(self, text: str) -> np.ndarray:
        """Normalize and encode a text.

        Args:
            text: a string of Unicode scalar values.

        Returns:
            The ids, int32 [T].

        Raises:
            InputError: the text has a lone surrogate, which is not a Unicode scalar value.
        """
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"the text has a lone surrogate U+{ord(text[error.start]):04X} at character "
                    f"{error.start}: "
                    "expected Unicode scalar values; read the text as valid UTF-8"
                ) from None
        return self._encode(self.normalize(text))

    def encode(self, text: str) -> list[int]:
        """Normalize and encode a text to a list of ids; see `encode_array`."""
        return self.encode_array(text).tolist()

    def pieces(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield the text of a document in pieces that may be encoded one by one.

        Joined they are the text, and their tokens, one after the other, are the document's.

        Args:
            pieces: the text, cut after line feeds.
        """
        return iter(pieces)

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text that goes on after its last character."""
        return self.encode(text)

    def encode_inside(self, text: str) -> list[int]:
        """Return the ids of a text that continues another: without what a tokenizer puts before a text."""
        return self.encode_prompt(text)

    def encode_around(self, text: str, specials: Sequence[Special], cuts: Sequence[int]) -> Spelled:
        """Return the tokens of a text with special tokens in it.

        Args:
            text: c characters.
            specials: the special tokens, from left to right.
            cuts: where else the text is cut, from left to right; a tokenizer of another project tells the
                characters of its tokens instead.
        """
        return in_parts(self.encode_inside, text, specials, cuts)

    def begins_word(self, token_id: int) -> bool:
        """Tell whether a word begins with a token: one behind white space, or one that says nothing."""
        return token_id in self.special_ids or self.token_bytes(token_id)[:1] in (b" ", b"\n", b"\t")

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """Return how many of the ids [T] of a text stand for something that the vocabulary lacks."""
        return 0 if self.unknown_id is None else int(np.count_nonzero(ids == self.unknown_id))

    def settings(self) -> dict[str, str | int | bool]:
        """Return the settings that made this tokenizer what it is, by the names of their flags.

        A reserved mask token, languages and special tokens come on top of `vocab_size`.
        """
        return {"vocab_size": self.own_size, "normalize": self.normalization}

    def token_bytes(self, token_id: int) -> bytes:
        """Return the UTF-8 bytes of a token: none at a document's begin or end, U+FFFD if unknown or mask
        token.

        Raises:
            InputError: the id is not in the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise InputError(f"token id {token_id} is out of range: expected 0 to {self.vocab_size - 1}")
        return self._token_bytes[token_id]

    def spelling(self, token_id: int) -> bytes:
        """Return the name of a token in a list: its bytes, and in WordPiece whether it continues a word."""
        return self.token_bytes(token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some ids; bytes that form no character are read as U+FFFD.

        Raises:
            InputError: an id is not in the vocabulary.
        """
        decoder = self.decoder()
        return decoder.push(ids) + decoder.finish()

    def decoder(self, before: str = "") -> Decoder:
        """Return an incremental decoder for ids that arrive one by one.

        Args:
            before: the text that the ids continue.
        """
        return Decoder(self)

    def label(self, token_id: int) -> str:
        r"""Return a printable name of a token, for tables and pictures.

        Example:
            >>> [tokenizer.label(i) for i in (0, 1, 2, 3, 259)]
            ['<eod>', '<blank>', '\\n', '<0x00>', '␣the']
        """
        if token_id == self.eod_id:
            return "<eod>"
        if token_id == self.begin_id:
            return "<begin>"
        if token_id == self.unknown_id:
            return "<unk>"
        if token_id == self.mask_id:
            return "<blank>"
        named = self.special_label(token_id) or self.language_label(token_id)
        return named or printable(self.token_bytes(token_id))

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer to a folder, each file atomically.

        Raises:
            InputError: the folder cannot be written.
        """
        for name, content in self._all_files().items():
            write_atomically(Path(folder) / name, content)

    def _all_files(self) -> dict[str, bytes]:
        """Return what `_files` does, and before it the chat template."""
        template = {} if self.chat_template is None else {TEMPLATE_FILE: self.chat_template.encode()}
        return {**template, **self._files()}

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read a tokenizer of this class back from a folder.

        Raises:
            InputError: a file is missing or damaged, or holds another kind of tokenizer.
        """
        settings = read_settings(folder)
        if settings["tokenizer"] != cls.name:
            raise InputError(
                f"{Path(folder) / SETTINGS_FILE} holds a {settings['tokenizer']!r} tokenizer, expected "
                f"{cls.name!r}"
            )
        form = settings.get("normalization")
        if not isinstance(form, str) or form not in normal_forms.FORMS:
            raise damaged(folder, f"unknown normalization {form!r}")
        tokenizer = cls._from_settings(Path(folder), settings)
        blank = "blank" in settings and field(folder, settings, "blank", bool)
        # Its network was made with that token, also where the kind has found a mask token of its own since.
        tokenizer = tokenizer._reserving_mask() if blank and cls.mask_id is None else tokenizer
        names, *template = saved_special(Path(folder), settings)
        tokenizer = tokenizer.with_languages(saved_languages(Path(folder), settings))
        return tokenizer.with_special_tokens(names).with_chat_template(*template)

    def _settings_file(self, **fields: str | int | bool | list) -> bytes:
        """Return the content of the settings' file: what every kind has, and these fields."""
        reserved = {"blank": True} if self.reserves_mask else {}
        added = {"languages": self.languages, "special_tokens": self.added_special}
        reserved |= {name: list(tokens) for name, tokens in added.items() if tokens}
        reserved |= {"chat_variables": self.chat_variables} if self.chat_variables else {}
        return write_settings(
            {"tokenizer": self.name, "normalization": self.normalization, **reserved, **fields}
        )

    def fingerprint(self) -> str:
        """Return a sha256 (64 hexadecimal digits) over what `save` would write."""
        digest = hashlib.sha256()
        for name, content in sorted(self._all_files().items()):
            digest.update(f"{name}\n{len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()
