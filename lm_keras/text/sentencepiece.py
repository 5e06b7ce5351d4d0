"""Subword tokens, trained with the sentencepiece library."""

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece as library
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from lm_keras.errors import InputError
from lm_keras.text.files import SETTINGS_FILE, damaged, field, read_bytes
from lm_keras.text.sentencepiece_training import (
    EOD_ID,
    EOD_PIECE,
    FIRST_BYTE_ID,
    NEWLINE_ID,
    NEWLINE_PIECE,
    SPACE_MARK,
    UNKNOWN_ID,
    UNKNOWN_PIECE,
    trained_model,
)
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

MODEL_FILE = "sentencepiece.model"
SEPARATORS = re.compile(f"([\n{SPACE_MARK}])")

MAX_ENCODED_CHARACTERS = 2**16  # longer lines are cut, because the library takes 300 bytes a character


class SentencePieceTokenizer(Tokenizer):
    r"""Subwords by byte-pair encoding or a unigram model.

    Lines are encoded one by one and joined by the newline token, so no piece crosses a line feed. With
    `byte_fallback` a character outside the vocabulary is spelled in byte tokens and every text survives the
    round trip (`lossless`); without it such a character, or a run of them, becomes the unknown token.

    Ids: 0 end of document, 1 unknown, 2 newline, 3 to 258 the bytes (with byte fallback), then the pieces.

    Example:
        >>> tokenizer = train_tokenizer("sentencepiece", ["low lower lowest\n"] * 9, vocab_size=270)
        >>> [tokenizer.label(i) for i in tokenizer.encode("low\n")]
        ['low', '\\n']

    Reference:
        Kudo and Richardson, 2018, "SentencePiece: A simple and language independent subword tokenizer".
    """

    name = "sentencepiece"
    eod_id = EOD_ID
    mask_id = UNKNOWN_ID
    joins_spaces = True

    def __init__(self, model: bytes, normalization: str):
        """Take a serialized sentencepiece model that `train` made.

        Raises:
            InputError: the bytes are not such a model.
        """
        if not model:  # the library would take it
            raise InputError("not a sentencepiece model: no bytes; train the tokenizer again")
        try:
            self._processor = library.SentencePieceProcessor(model_proto=model)
            _check_layout(model)
            pieces = [_piece_bytes(self._processor, i) for i in range(len(self._processor))]
        except (RuntimeError, TypeError, UnicodeDecodeError, DecodeError) as error:
            raise InputError(f"not a sentencepiece model: {error}; train the tokenizer again") from None
        super().__init__(normalization, pieces)
        self._model = model
        self.byte_fallback = self._processor.is_byte(FIRST_BYTE_ID)
        self.lossless = self.byte_fallback
        self.unknown_id = None if self.byte_fallback else UNKNOWN_ID
        mark = [FIRST_BYTE_ID + byte for byte in SPACE_MARK.encode()] if self.byte_fallback else [UNKNOWN_ID]
        self._separators, self._separator_ids = SEPARATORS, {"\n": [NEWLINE_ID], SPACE_MARK: mark, "": []}
        if self.byte_fallback and b" " not in pieces[FIRST_BYTE_ID + 256 :]:
            # Learnt from a text without spaces. The library would spell a space as the bytes of its own mark.
            self._separators = re.compile(f"([\n {SPACE_MARK}])")
            self._separator_ids[" "] = [FIRST_BYTE_ID + ord(" ")]

    @classmethod
    def train(cls, texts: Iterable[str], settings: Mapping[str, Any]) -> "SentencePieceTokenizer":
        """Learn the pieces from a corpus. The same texts and settings give the same model.

        Args:
            texts: the corpus in pieces, cut after line feeds; read once. Of more than 2^24 characters every
                second, fourth, ... line is used.
            settings: `vocab_size`, the whole size: end of document, unknown, newline, bytes and pieces;
                `normalization`; `model_type`, `bpe` or `unigram`; `byte_fallback`, to spell unknown
                characters in bytes; and optionally `character_coverage`, the share of the corpus whose
                characters get a piece of their own, 0.98 to 1. Without it that is 1 without byte fallback and
                0.9995 with it; but of a text with more characters than pieces, such as a Chinese one, the
                rarest are then spelled in bytes and every second piece is left for more than a character.
                `most_characters`, of a longer corpus evenly spaced lines are used [2^24].

        Raises:
            InputError: a setting is wrong, the corpus is empty, or it allows no vocabulary of that size.
        """
        return cls(trained_model(texts, settings), settings["normalization"])

    def settings(self) -> dict[str, str | int | bool]:
        """Return the settings that made this tokenizer what it is, by the names of their flags."""
        proto = sentencepiece_model_pb2.ModelProto.FromString(self._model)
        model_type = proto.trainer_spec.DESCRIPTOR.enum_types_by_name["ModelType"].values_by_number
        return {
            **super().settings(),
            "sentencepiece_model": model_type[proto.trainer_spec.model_type].name.lower(),
            "byte_fallback": self.byte_fallback,
        }

    def _encode(self, text: str) -> np.ndarray:
        parts = self._separators.split(text)  # text, separator, text, ..., text
        if len(text) > MAX_ENCODED_CHARACTERS:
            parts = list(itertools.chain.from_iterable(map(_cut_line, parts)))
        encoded = self._processor.encode(parts[::2], out_type=int)
        ids = encoded[0]
        for separator, following in zip(parts[1::2], encoded[1:]):
            ids += self._separator_ids[separator]
            ids += following
        return np.array(ids, np.int32)

    def _files(self) -> dict[str, bytes]:
        checksum = hashlib.sha256(self._model).hexdigest()
        settings = self._settings_file(vocab_size=self.own_size, model_sha256=checksum)
        return {MODEL_FILE: self._model, SETTINGS_FILE: settings}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "SentencePieceTokenizer":
        model = read_bytes(folder / MODEL_FILE)
        if hashlib.sha256(model).hexdigest() != field(folder, settings, "model_sha256", str):
            raise damaged(folder, f"{MODEL_FILE} beside it does not have the sha256 noted there")
        tokenizer = cls(model, settings["normalization"])
        if tokenizer.vocab_size != field(folder, settings, "vocab_size", int):
            raise damaged(folder, f"{MODEL_FILE} beside it has {tokenizer.vocab_size} pieces")
        return tokenizer


def _cut_line(line: str) -> Iterator[str]:
    """Yield a line with empty separators in it where it is too long.

    A piece that was learnt here has spaces at its beginning only, so a cut before spaces changes no token.
    """
    start = 0
    while len(line) - start > MAX_ENCODED_CHARACTERS:
        end = start + MAX_ENCODED_CHARACTERS
        before = line[start : line.rfind(" ", start, end) + 1].rstrip(" ")
        end = start + len(before) if before else end
        yield line[start:end]
        yield ""
        start = end
    yield line[start:]


def _check_layout(model: bytes) -> None:
    """Refuse a model in which `train` did not put every token at its place, or that would change a text."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    kind = proto.SentencePiece
    kinds = [piece.type for piece in proto.pieces]
    names = [piece.piece for piece in proto.pieces]
    spelled = [f"<0x{byte:02X}>" for byte in range(256)] if kind.BYTE in kinds else []
    special = [kind.CONTROL, kind.UNKNOWN, kind.CONTROL] + [kind.BYTE] * len(spelled)
    rules, types = proto.normalizer_spec, (proto.trainer_spec.BPE, proto.trainer_spec.UNIGRAM)
    changes_text = (
        rules.precompiled_charsmap
        or rules.add_dummy_prefix
        or rules.remove_extra_whitespaces
        or not rules.escape_whitespaces
        or proto.HasField("denormalizer_spec")
        or proto.trainer_spec.treat_whitespace_as_suffix
        or proto.trainer_spec.model_type not in types
    )
    in_place = (
        kinds == special + [kind.NORMAL] * (len(kinds) - len(special))
        and names[:FIRST_BYTE_ID] == [EOD_PIECE, UNKNOWN_PIECE, NEWLINE_PIECE]
        and names[FIRST_BYTE_ID : len(special)] == spelled
        and all(math.isfinite(piece.score) for piece in proto.pieces)
    )
    if changes_text or not in_place:
        raise InputError(
            "this sentencepiece model was not trained here: expected ids 0 end-of-document, 1 unknown, 2 "
            "newline, then bytes or none, then plain pieces, and a text that is left as it is; train the "
            "tokenizer again"
        )


def _piece_bytes(processor: library.SentencePieceProcessor, token_id: int) -> bytes:
    if token_id == EOD_ID:
        return b""
    if token_id == UNKNOWN_ID:
        return REPLACEMENT
    if token_id == NEWLINE_ID:
        return b"\n"
    piece = processor.id_to_piece(token_id)
    if processor.is_byte(token_id):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE_MARK, " ").encode("utf-8")
