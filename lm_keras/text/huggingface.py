"""The tokenizers of other projects' models, as Hugging Face's library reads them: GPT-2's byte-level BPE, LLaMA's and others."""

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tokenizers as library

from lm_keras.errors import InputError
from lm_keras.text.files import SETTINGS_FILE, damaged, field, read_bytes
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

MODEL_FILE = "huggingface.json"
"""What the library calls tokenizer.json."""

END_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "[SEP]", "<eos>")
"""Tokens that end a document, where nothing else says which one does."""


def byte_alphabet() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for.

    Printable bytes of Latin-1 stand for themselves, the others for the characters from U+0100 on.

    Reference: Radford et al. (2019), section 2.2, and encoder.py of its code.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer that was trained elsewhere; ids, and so texts of tokens, are those of its model.

    The names of special tokens are ordinary text, as for every tokenizer here.

    Args:
        model: the content of the library's tokenizer.json.
        eod_id: the token that ends a document.
        vocab_size: number of ids, if the network has more than the tokenizer names.

    Raises:
        InputError: the library cannot read the model.
    """

    name = "huggingface"
    joins_blanks = True

    def __init__(self, model: bytes, eod_id: int, vocab_size: int | None = None):
        self._model = model
        self._tokenizer = _read(model)
        content = json.loads(model)
        kinds = _kinds(content.get("decoder"))
        names = {i: name for name, i in self._tokenizer.get_vocab(with_added_tokens=True).items()}
        special = {token["id"] for token in content.get("added_tokens") or [] if token.get("special")}
        size = max([*names, eod_id]) + 1
        if vocab_size is not None and vocab_size < size:
            raise InputError(f"the tokenizer has {size:,} tokens, and the network only {vocab_size:,}")
        self.byte_level = "ByteLevel" in kinds
        to_bytes = _of_byte_level if self.byte_level else _of_pieces
        spelled = [
            b"" if i == eod_id else to_bytes(names.get(i), i in special) for i in range(vocab_size or size)
        ]
        super().__init__("none", spelled)
        self.eod_id = self.begin_id = eod_id
        self.lossless = self.byte_level and content.get("normalizer") is None
        unknown = (content.get("model") or {}).get("unk_token")
        if unknown is not None and not self.lossless and unknown in self._tokenizer.get_vocab():
            self.unknown_id = self._tokenizer.token_to_id(unknown)
            self.blank_id = self.unknown_id
            self._token_bytes[self.unknown_id] = REPLACEMENT

    @classmethod
    def of_byte_level_bpe(
        cls, vocab: bytes, merges: bytes, eod_id: int | None, vocab_size: int | None = None
    ) -> "HuggingFaceTokenizer":
        """Make one of GPT-2's two files, `vocab.json` and `merges.txt`; without `eod_id` a token's name tells it.

        Raises:
            InputError: they are damaged, or nothing tells which token ends a document.
        """
        try:
            ids = json.loads(vocab)
            lines = merges.decode("utf-8").split("\n")
            pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
            model = library.Tokenizer(library.models.BPE(vocab=ids, merges=pairs))
        except BaseException as error:  # The library's own panics are no Exception.
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise InputError(
                f"vocab.json and merges.txt are damaged or no byte-level BPE: {_line(error)}"
            ) from None
        model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = library.decoders.ByteLevel()
        ends = [name for name in END_NAMES if name in ids]
        model.add_special_tokens(ends)
        if eod_id is None and not ends:
            raise InputError(
                f"vocab.json has none of {', '.join(END_NAMES)}; write eos_token_id into config.json"
            )
        return cls(model.to_str().encode(), ids[ends[0]] if eod_id is None else eod_id, vocab_size)

    @classmethod
    def end_in(cls, model: bytes) -> int | None:
        """Return the token that ends a document where only its name tells, or None."""
        vocabulary = _read(model).get_vocab(with_added_tokens=True)
        return next((vocabulary[name] for name in END_NAMES if name in vocabulary), None)

    def beginning_with(self, token: int | str | None) -> "HuggingFaceTokenizer":
        """Return the same tokenizer with another `begin_id`.

        Args:
            token: id or name of the token; None, or a name that is unknown, for the one that ends documents.
        """
        made = copy.copy(self)
        found = self._tokenizer.token_to_id(token) if isinstance(token, str) else token
        made.begin_id = self.eod_id if found is None else found
        made._token_bytes = [b"" if i == made.begin_id else b for i, b in enumerate(self._token_bytes)]
        return made

    @property
    def begin_name(self) -> str:
        """Return the name of the token that begins a document."""
        return self._tokenizer.id_to_token(self.begin_id) or self.end_name

    @property
    def end_name(self) -> str:
        """Return the name of the token that ends a document."""
        return self._tokenizer.id_to_token(self.eod_id) or END_NAMES[0]

    @property
    def special_names(self) -> dict[str, str]:
        """Return the names of special tokens as a tokenizer_config.json has them."""
        return {"eos_token": self.end_name, "bos_token": self.begin_name}

    @property
    def model(self) -> bytes:
        """Return the content of the library's tokenizer.json."""
        return self._model

    def _encode(self, text: str) -> np.ndarray:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def pieces(self, pieces: Iterable[str]) -> Iterator[str]:
        r"""Yield the same text in pieces whose tokens are those of the whole.

        A byte-level tokenizer never joins what a line feed between two characters that are no white space divides.

        Example:
            >>> list(tokenizer.pieces(["one\ntwo\n", " three\nfour"]))
            ['one\n', 'two\n three\n', 'four']
        """
        held = ""
        for piece in pieces:
            held += piece
            if self.byte_level and (cut := _last_cut(held)):
                yield held[:cut]
                held = held[cut:]
        if held:
            yield held

    def _files(self) -> dict[str, bytes]:
        own = {} if self.begin_id == self.eod_id else {"begin_id": self.begin_id}
        settings = {
            "eod_id": self.eod_id,
            **own,
            "vocab_size": self.vocab_size - self.reserves_blank,
            "sha256": hashlib.sha256(self._model).hexdigest(),
        }
        return {MODEL_FILE: self._model, SETTINGS_FILE: self._settings_file(**settings)}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict) -> "HuggingFaceTokenizer":
        model = read_bytes(folder / MODEL_FILE)
        if hashlib.sha256(model).hexdigest() != field(folder, settings, "sha256", str):
            raise damaged(folder, f"{MODEL_FILE} beside it has other content")
        eod_id, size = field(folder, settings, "eod_id", int), field(folder, settings, "vocab_size", int)
        begin_id = field(folder, settings, "begin_id", int) if "begin_id" in settings else eod_id
        if not (0 <= eod_id < size <= MAX_VOCABULARY and 0 <= begin_id < size):
            raise damaged(
                folder, f"{size} tokens, of which {begin_id} begins a document and {eod_id} ends it"
            )
        try:
            return cls(model, eod_id, size).beginning_with(begin_id)
        except InputError as error:
            raise damaged(folder, str(error)) from None


MAX_VOCABULARY = 2**24
"""Far more tokens than any tokenizer has."""


def _last_cut(text: str) -> int:
    """Return where the last line begins whose line feed stands between two characters that are no white space, or 0."""
    at = text.rfind("\n", 1, len(text) - 1)
    while at > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + 1
        at = text.rfind("\n", 1, at)
    return 0


def _read(model: bytes) -> library.Tokenizer:
    try:
        tokenizer = library.Tokenizer.from_buffer(model)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        return tokenizer
    except BaseException as error:  # The library's own panics are no Exception.
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise InputError(
            f"damaged or no tokenizer that the library tokenizers reads: {_line(error)}"
        ) from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _kinds(decoder) -> set[str]:
    """Return the types of a decoder and of those within it."""
    if not isinstance(decoder, dict):
        return set()
    inside = decoder.get("decoders")
    kinds = {decoder.get("type")}
    return kinds.union(*map(_kinds, inside)) if isinstance(inside, list) else kinds


_ALPHABET = byte_alphabet()


def _of_byte_level(name: str | None, special: bool) -> bytes:
    if name is None:
        return REPLACEMENT
    if special or not all(character in _ALPHABET for character in name):
        return name.encode("utf-8", "replace")
    return bytes(_ALPHABET[character] for character in name)


def _of_pieces(name: str | None, special: bool) -> bytes:
    """Return the bytes of a piece as sentencepiece spells it: U+2581 for a blank, `<0x41>` for a byte."""
    if name is None:
        return REPLACEMENT
    if not special and len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        try:
            return bytes([int(name[3:5], 16)])
        except ValueError:
            pass
    return name.replace("\u2581", " ").encode("utf-8", "replace")
