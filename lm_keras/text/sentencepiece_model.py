"""A sentencepiece model that was trained elsewhere: the tokenizer.model of LLaMA, Mistral and Gemma."""

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece as library
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2, sentencepiece_pb2

from lm_keras.errors import InputError
from lm_keras.text import long_documents
from lm_keras.text.chains import Chain, ChainDecoder
from lm_keras.text.decoder import Decoder
from lm_keras.text.files import SETTINGS_FILE, damaged, field, read_bytes
from lm_keras.text.pieces import Piece
from lm_keras.text.spelled import Special, Spelled
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

MODEL_FILE = "sentencepiece.model"
SPACE_MARK = "\u2581"


class SentencePieceModel(Tokenizer):
    """A sentencepiece model of another project, encoded by sentencepiece itself.

    What its tokens say is measured. A control symbol's name in a text is ordinary text; a user-defined symbol
    is what the model says.

    Args:
        model: the content of a tokenizer.model.
        eod_id: the token that ends a document; None for the model's own.
        vocab_size: number of ids, if the network has more than the model has pieces.

    Raises:
        InputError: it is not such a model, or one whose text cannot be told token by token.
    """

    name = "sentencepiece-model"
    joins_spaces = True

    def __init__(self, model: bytes, eod_id: int | None, vocab_size: int | None = None):
        self._model, proto = model, _proto(model)
        self._processor = library.SentencePieceProcessor(model_proto=model)
        kind, rules = proto.SentencePiece, proto.normalizer_spec
        if proto.denormalizer_spec.precompiled_charsmap or proto.trainer_spec.treat_whitespace_as_suffix:
            raise InputError(
                "its text is changed again when it is decoded, or has spaces behind words, which is not read"
                " here"
            )
        size = max(len(proto.pieces), 0 if eod_id is None else eod_id + 1)
        if vocab_size is not None and vocab_size < size:
            raise InputError(f"the tokenizer has {size:,} tokens, and the network only {vocab_size:,}")
        spelled = [_bytes_of(piece, kind) for piece in proto.pieces]
        super().__init__("none", spelled + [REPLACEMENT] * ((vocab_size or size) - len(spelled)))
        self.own_special = {p.piece: n for n, p in enumerate(proto.pieces) if p.type == kind.CONTROL}
        if eod_id is None:
            eod_id = self._processor.eos_id()
        if eod_id < 0:
            raise InputError("it has no token that ends a document; write eos_token_id into config.json")
        self.eod_id = self.begin_id = eod_id
        self._token_bytes[eod_id] = b""
        self.own_begin = self._processor.bos_id() if self._processor.bos_id() >= 0 else None
        self.unknown_id = self.mask_id = self._processor.unk_id()
        self._token_bytes[self.unknown_id] = REPLACEMENT
        self.prefixes = bool(rules.add_dummy_prefix)
        strips = 2**31 if rules.remove_extra_whitespaces else int(self.prefixes)
        self._chain = Chain((), (), "utf-8", (("strip", " ", strips),), frozenset(), False, False)

    @property
    def names(self) -> list[str]:
        """Return the names of the model's pieces, by id."""
        return [self._processor.id_to_piece(number) for number in range(len(self._processor))]

    def beginning_with(self, token: int | str | None) -> "SentencePieceModel":
        """Return the same tokenizer with another `begin_id`: an id or a name; None, or an unknown name, for
        the model's own, else the end.
        """
        made = copy.copy(self)
        if isinstance(token, str):
            found = self._processor.piece_to_id(token)
            token = found if found != self.unknown_id else None
        if token is None:
            token = self.own_begin
        made.begin_id = self.eod_id if token is None else token
        made._token_bytes = [b"" if i == made.begin_id else b for i, b in enumerate(self._token_bytes)]
        return made

    @property
    def special_ids(self) -> set[int]:
        """Return the ids that stand for no text: those of control symbols, too."""
        return super().special_ids | {*self.own_special.values()}

    def _encode(self, text: str) -> np.ndarray:
        if isinstance(text, Piece) and text.maker is self._processor:
            return text.ids
        return np.array(self._processor.encode(text), np.int32)

    def _encoded(self, text: str) -> long_documents.EncodedText:
        content = self._processor.encode(text, out_type="serialized_proto")
        pieces = sentencepiece_pb2.SentencePieceText.FromString(content).pieces
        ids, begins, ends = (
            np.array([(one.id, one.begin, one.end) for one in pieces], np.int64).reshape(-1, 3).T
        )
        # Its offsets are those of bytes.
        starts = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
        characters = np.concatenate([[0], np.cumsum(starts)])
        begins, ends = characters[begins], characters[ends]
        return long_documents.EncodedText(ids.astype(np.int32), begins, ends, np.zeros_like(begins))

    def canonical(self, text: str) -> str:
        """Return what the tokens of a text say."""
        known = isinstance(text, Piece) and text.maker is self._processor
        return text.said if known else self.decode(self.encode(text))

    def encode_inside(self, text: str) -> list[int]:
        """Return the ids of a text that goes on behind others, without the space that the model puts before a
        text.
        """
        if not self.prefixes:
            return self.encode(text)
        whole, before = self.encode(f"\n{text}"), self.encode("\n")
        return whole[len(before) :] if whole[: len(before)] == before else self.encode(text)

    def encode_around(self, text: str, specials: Sequence[Special], cuts: Sequence[int]) -> Spelled:
        """Return the tokens of a text with special tokens in it; what stands between two of them is encoded
        as a text of its own.
        """
        parts, place = [], 0
        for begin, end, token in [*specials, Special(len(text), len(text), -1)]:
            ids, begins, ends, _ = self._encoded(text[place:begin])
            parts.append(Spelled(ids, begins, ends).moved(place))
            parts += [Spelled.of([token], begin, end)] if token >= 0 else []
            place = end
        return Spelled.joined(parts)

    def decoder(self, before: str = "") -> Decoder:
        """Return an incremental decoder; at the beginning of a text it leaves out the space that the model
        puts there.
        """
        return ChainDecoder(self, self._chain, before)

    def pieces(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield the same text in pieces that know their tokens, those of the whole."""
        decoder = self.decoder()
        for text, ids, is_last in long_documents.parts(pieces, self._encoded):
            said = decoder.push(ids.tolist()) + (decoder.finish() if is_last else "")
            yield Piece(text, ids, said, self._processor)

    @property
    def foreign_files(self) -> dict[str, bytes]:
        """Return the files of this tokenizer in a Hugging Face folder."""
        names = {"tokenizer_class": "LlamaTokenizer"}
        for name, token in (("bos_token", self.begin_id), ("eos_token", self.eod_id)):
            if token < len(self._processor):  # A network may have more tokens than the model names.
                names[name] = self._processor.id_to_piece(token)
        model = self._model
        if self.added_special:
            proto = _proto(model)
            fillers = [f"<unused{n}>" for n in range(len(self._processor), self.first_special)]
            for name in (*fillers, *self.added_special):
                proto.pieces.add(piece=name, score=0.0, type=proto.SentencePiece.CONTROL)
            model = proto.SerializeToString()
        return {
            "tokenizer.model": model,
            "tokenizer_config.json": (json.dumps(names, indent=1) + "\n").encode(),
        }

    def _files(self) -> dict[str, bytes]:
        settings = self._settings_file(
            begin_id=self.begin_id,
            eod_id=self.eod_id,
            vocab_size=self.own_size,
            sha256=hashlib.sha256(self._model).hexdigest(),
        )
        return {MODEL_FILE: self._model, SETTINGS_FILE: settings}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "SentencePieceModel":
        model = read_bytes(folder / MODEL_FILE)
        if hashlib.sha256(model).hexdigest() != field(folder, settings, "sha256", str):
            raise damaged(folder, f"{MODEL_FILE} beside it has other content")
        begin, end, size = (
            field(folder, settings, name, int) for name in ("begin_id", "eod_id", "vocab_size")
        )
        if not (0 <= end < size <= 2**24 and 0 <= begin < size):
            raise damaged(folder, f"{size} tokens, of which {begin} begins a document and {end} ends it")
        try:
            return cls(model, end, size).beginning_with(begin)
        except InputError as error:
            raise damaged(folder, str(error)) from None


def _proto(model: bytes) -> sentencepiece_model_pb2.ModelProto:
    """Read a model; what sentencepiece would take and is none, is refused."""
    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        if not proto.pieces:
            raise RuntimeError("no pieces")
        library.SentencePieceProcessor(model_proto=model)
        return proto
    except (RuntimeError, TypeError, UnicodeDecodeError, DecodeError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"damaged or no model of sentencepiece: {line}") from None


def _bytes_of(piece: Any, kind: type) -> bytes:
    if piece.type == kind.CONTROL:
        return b""
    if piece.type == kind.BYTE:
        return bytes([int(piece.piece[3:5], 16)])
    return piece.piece.replace(SPACE_MARK, " ").encode("utf-8")
