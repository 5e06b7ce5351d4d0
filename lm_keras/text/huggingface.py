"""The tokenizers of other projects' models, as Hugging Face's library reads them: GPT-2's byte-level BPE,
LLaMA's and others.
"""

import copy
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from lm_keras.errors import InputError
from lm_keras.text import components, library, long_documents, traits
from lm_keras.text.chains import ChainDecoder, spelling_of
from lm_keras.text.decoder import Decoder
from lm_keras.text.files import SETTINGS_FILE, damaged, field, read_bytes
from lm_keras.text.marked import MarkedTokenizer
from lm_keras.text.pieces import Piece
from lm_keras.text.spelled import Special, Spelled, joined_at
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

MODEL_FILE = "huggingface.json"
"""What the library calls tokenizer.json."""

END_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "[SEP]", "<eos>")
"""Tokens that end a document, where nothing else says which one does."""


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer that was trained elsewhere; ids, and so texts of tokens, are those of its model.

    The names of special tokens are ordinary text, as for every tokenizer here. What its tokens say is
    measured, by decoding them, unless the parts of tokenizer.json prove that every text comes back
    (`lossless`).

    Args:
        model: the content of the library's tokenizer.json; `components` lists what it may consist of.
        eod_id: the token that ends a document.
        vocab_size: number of ids, if the network has more than the tokenizer names.

    Raises:
        InputError: the library cannot read the model, or it has a part that is refused.
    """

    name = "huggingface"
    joins_spaces = True

    def __init__(self, model: bytes, eod_id: int, vocab_size: int | None = None):
        self._model = model
        self._tokenizer = self._encoder = library.read(model)
        content = library.content_of(model, self._tokenizer)
        chain = self._chain = components.check(content)
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        components.check_ids(content, ids)
        names = {i: name for name, i in ids.items()}
        special = {token["id"] for token in content.get("added_tokens") or [] if token["special"]}
        self.own_special = {names[i]: i for i in sorted({*special, eod_id}) if i in names}
        size = max([*names, eod_id]) + 1
        if vocab_size is not None and vocab_size < size:
            raise InputError(f"the tokenizer has {size:,} tokens, and the network only {vocab_size:,}")
        self.byte_level = chain.reads == "level"
        self._names = [names.get(i) for i in range(vocab_size or size)]
        # The library decodes added tokens as its normalizer has them: 'cat' for 'Cat', where that lowers
        # letters.
        said = {
            token["id"]: self._tokenizer.id_to_token(token["id"])
            for token in content.get("added_tokens") or []
        }
        self._said_names = [said.get(i, name) for i, name in enumerate(self._names)]
        spelled = [spelling_of(name, i in special, chain) for i, name in enumerate(self._said_names)]
        super().__init__("none", spelled)
        self._token_bytes[eod_id] = b""
        self.eod_id = self.begin_id = eod_id
        self.joins_spaces = not chain.separates
        unknown = traits.unknown_of(content, ids, chain, eod_id)
        if unknown is not None:
            self.unknown_id = self.mask_id = unknown
            self._token_bytes[unknown] = REPLACEMENT
        self._first = traits.begins_with(content)
        self._continues = content["model"].get("continuing_subword_prefix")
        self._prepare(content)

    def _prepare(self, content: dict[str, Any]) -> None:
        """Set what encodes, for these tokens that begin and end a document, and what is known of it."""
        never = {self._names[i] for i in {self.eod_id, self.begin_id}} - {None}
        never |= {token["content"] for token in content.get("added_tokens") or [] if token["special"]}
        if self.unknown_id is not None:
            never -= {self._names[self.unknown_id]}
        changed = library.without_names(content, never)
        if changed:
            self._encoder = library.read(changed)
            content = json.loads(changed)
        self.lossless = traits.is_lossless(content, self._chain)
        self._cuts_at_lines = self.lossless and traits.cuts_at_lines(content)
        self._period, self._prefixes = traits.period_of(content), traits.prefixes(content)
        self._marked = None
        model = content["model"]
        drops = model["type"] == "BPE" and model.get("unk_token") is None
        self._counting = content if drops and not traits.spells_all(content) else None

    @classmethod
    def end_in(cls, model: bytes, name: str | None = None) -> int | None:
        """Return the token that ends a document where only its name tells: this one, or one of the usual; or
        None.
        """
        vocabulary = library.read(model).get_vocab(with_added_tokens=True)
        return next((vocabulary[one] for one in (name, *END_NAMES) if one in vocabulary), None)

    def beginning_with(self, token: int | str | None) -> "HuggingFaceTokenizer":
        """Return the same tokenizer with another `begin_id`.

        Args:
            token: id or name of the token; None, or a name that is unknown, for the one that ends documents.
        """
        made = copy.copy(self)
        found = self._tokenizer.token_to_id(token) if isinstance(token, str) else token
        made.begin_id = self.eod_id if found is None else found
        if found is not None and self._names[found] is not None:
            made.own_special = {**self.own_special, self._names[found]: found}
        made._token_bytes = [b"" if i == made.begin_id else b for i, b in enumerate(self._token_bytes)]
        if made.begin_id != self.begin_id:
            made._prepare(library.content_of(self._model, self._tokenizer))
        return made

    @property
    def first_name(self) -> str | None:
        """Return the name of the special token that the post-processor of its tokenizer.json puts before a
        text, or None.
        """
        return self._first

    @property
    def names(self) -> list[str | None]:
        """Return the names of the tokens, by id."""
        return self._names

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

    @property
    def foreign_files(self) -> dict[str, bytes]:
        """Return the files of this tokenizer in a Hugging Face folder."""
        names, model = {"tokenizer_class": "PreTrainedTokenizerFast", **self.special_names}, self._model
        if self.added_special:
            model = library.with_special(model, self._names, self.added_special)
        return {
            "tokenizer.json": model,
            "tokenizer_config.json": (json.dumps(names, indent=1) + "\n").encode(),
        }

    def _encode(self, text: str) -> np.ndarray:
        if isinstance(text, Piece) and text.maker is self._encoder:
            return text.ids
        return np.array(self._encoding(text).ids, np.int32)

    def _encoding(self, text: str) -> tokenizers.Encoding:
        try:
            return self._encoder.encode(text, add_special_tokens=False)
        except BaseException as error:  # The library's own panics are not Exceptions.
            start = repr(text[:40])
            raise library.refused(
                error, f"the tokenizer cannot encode the text that begins with {start}: "
            ) from None

    def _encoded(self, text: str) -> long_documents.EncodedText:
        found = self._encoding(text)
        begins, ends = np.array(found.offsets, np.int64).reshape(-1, 2).T
        words = [-1 if word is None else word for word in found.word_ids]
        return long_documents.EncodedText(np.array(found.ids, np.int32), begins, ends, np.array(words))

    def canonical(self, text: str) -> str:
        """Return what the tokens of a text say: the text itself where that is proven, else what they decode
        to.
        """
        if self.lossless:
            return text
        if isinstance(text, Piece) and text.maker is self._encoder:
            return text.said
        return self.decode(self.encode(text))

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """Return how many of the ids [T] of a text stand for something that is lost.

        Counted are unknown tokens, what does not decode to characters, and characters (in a byte-level
        tokenizer bytes) that a model without an unknown token drops.
        """
        if self.lossless:
            return 0
        said = (
            text.said
            if isinstance(text, Piece) and text.maker is self._encoder
            else self.decode(ids.tolist())
        )
        unread = said.count("\ufffd") - text.count("\ufffd")
        found = max(super().count_unknown(text, ids), unread)
        if self._counting is None:
            return found
        counter, lost = self._counter
        return found + counter.encode(str(text), add_special_tokens=False).ids.count(lost)

    @functools.cached_property
    def _counter(self) -> tuple[tokenizers.Tokenizer, int]:
        return library.counting_lost(self._counting)

    def encode_inside(self, text: str) -> list[int]:
        """Return the ids of a text that follows others, without the space that is put before a text."""
        if not self._prefixes:
            return self.encode(text)
        whole, before = self.encode(f"\n{text}"), self.encode("\n")
        return whole[len(before) :] if whole[: len(before)] == before else self.encode(text)

    def encode_around(self, text: str, specials: Sequence[Special], cuts: Sequence[int]) -> Spelled:
        """Return the tokens of a text with special tokens in it, those that the library finds in the whole
        text.
        """
        if self._marked is None:
            content = library.content_of(self._model, self._tokenizer)
            self._marked = MarkedTokenizer(content, self.own_special)
        return joined_at(text, specials, self.first_special, self._marked.encode)

    def begins_word(self, token_id: int) -> bool:
        """Tell whether a word begins with a token. Of tokens with spaces between them all do, but those that
        a prefix marks.
        """
        if not self._chain.separates:
            return super().begins_word(token_id)
        name = self._names[token_id] if token_id < len(self._names) else None
        return not (name and self._continues and name.startswith(self._continues))

    def spelled(self, token_id: int, first: bool, last: bool) -> bytes:
        """Return the bytes of a token at a place of a text; see `Chain`."""
        content = self.token_bytes(token_id)
        if token_id >= self.first_language:
            return content
        known = token_id < len(self._said_names) and content != REPLACEMENT
        name = self._said_names[token_id] if known else None
        return self._chain.bytes_of(REPLACEMENT.decode() if name is None else name, first, last)

    def decoder(self, before: str = "") -> Decoder:
        """Return an incremental decoder; at the beginning of a text it does what the library does there."""
        plain = not self._chain.places and not self._chain.after
        return Decoder(self) if plain else ChainDecoder(self, self._chain, before)

    def pieces(self, pieces: Iterable[str]) -> Iterator[str]:
        r"""Yield the same text in pieces whose tokens are those of the whole.

        GPT-2's never join what a line feed between two characters that are not white space divides. Of
        others, and from a very long line on, a piece knows its tokens (`Piece`): what they are may depend on
        what is around it, as the space that LLaMA's puts before a text.

        Example: of GPT-2's tokenizer

            >>> list(tokenizer.pieces(["one\ntwo\n", " three\nfour"]))
            ['one\n', 'two\n three\n', 'four']
        """
        source, held = iter(pieces), ""
        if self._cuts_at_lines:
            held = yield from long_documents.by_lines(source)
        decoder = self.decoder()
        for text, ids, is_last in long_documents.parts(
            itertools.chain([held], source), self._encoded, self._period
        ):
            said = text
            if not self.lossless:
                said = decoder.push(ids.tolist()) + (decoder.finish() if is_last else "")
            yield Piece(text, ids, said, self._encoder)

    def _files(self) -> dict[str, bytes]:
        own = {} if self.begin_id == self.eod_id else {"begin_id": self.begin_id}
        settings = {
            "eod_id": self.eod_id,
            **own,
            "vocab_size": self.own_size,
            "sha256": hashlib.sha256(self._model).hexdigest(),
        }
        return {MODEL_FILE: self._model, SETTINGS_FILE: self._settings_file(**settings)}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "HuggingFaceTokenizer":
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
