"""Subword tokens, trained with the sentencepiece library."""

import hashlib
import io
import itertools
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece as library
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from lm_keras.errors import InputError, nearest
from lm_keras.text.code_points import code_points
from lm_keras.text.files import SETTINGS_FILE, damaged, field, read_bytes
from lm_keras.text.normalization import check_form, normalize
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

MODEL_FILE = "sentencepiece.model"
MODEL_TYPES = ("bpe", "unigram")

# The library writes U+2581 for a space, so a U+2581 of the text is spelled in bytes, outside the library.
SPACE_MARK = "\u2581"
SEPARATORS = re.compile(f"([\n{SPACE_MARK}])")

# The trainer reserves U+2585, and rejects NUL; special pieces are named with U+2585, so that no text can
# collide with them. It would also fail if it learned a piece that looks like a byte piece: cut those.
TRAINER_CUTS = re.compile(f"[\x00{SPACE_MARK}\u2585]|(?<=<0x)(?=[0-9A-F]{{2}}>)")
EOD_PIECE, UNKNOWN_PIECE, NEWLINE_PIECE = "\u2585eod", "\u2585unk", "\u2585newline"
EOD_ID, UNKNOWN_ID, NEWLINE_ID, FIRST_BYTE_ID = 0, 1, 2, 3

MAX_LINE_CHARACTERS = 4096  # longer lines are cut for the trainer, which would drop them
MAX_ENCODED_CHARACTERS = 2**16  # longer lines are cut, because the library takes 300 bytes a character
MAX_TRAINING_CHARACTERS = 2**24  # from a larger corpus the trainer gets evenly spaced lines, in 0.7 GB
MAX_PIECE_CHARACTERS = 16  # the library's default
COUNTED_LINES = 2**14  # lines whose characters are counted at once
TRAINING_THREADS = 16  # the unigram model depends on it in the last digits, so it is never the machine's own


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
            InputError: the bytes are no such model.
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
        vocab_size, normalization = settings["vocab_size"], check_form(settings["normalization"])
        model_type, byte_fallback = settings["model_type"], settings["byte_fallback"]
        character_coverage = settings.get("character_coverage")
        if vocab_size is None:
            raise InputError("the sentencepiece tokenizer needs a vocab_size, for instance 8000")
        if model_type not in MODEL_TYPES:
            raise InputError(
                f"unknown model_type {model_type!r}{nearest(model_type, MODEL_TYPES)}: expected bpe or "
                "unigram"
            )
        if not 0 < vocab_size < 2**31:
            raise InputError(f"vocab_size is {vocab_size}: expected a number of pieces above 0, such as 8000")
        given = character_coverage
        room = 0 if character_coverage or not byte_fallback else vocab_size - FIRST_BYTE_ID - 256
        if character_coverage is None:
            character_coverage = 0.9995 if byte_fallback else 1.0
        if not 0.98 <= character_coverage <= 1.0:
            raise InputError(f"character_coverage is {character_coverage}: expected 0.98 to 1")
        most = settings.get("most_characters", MAX_TRAINING_CHARACTERS)
        lines = _thinned(_training_lines(texts, normalization), most)
        if not lines:
            raise InputError("no text to train a tokenizer on: expected a corpus with at least one character")
        counts = _counted(lines)
        rare = _rare_characters(counts, room) if room > 0 else []
        if rare:
            lines, character_coverage = _cut_at(lines, rare), 1.0
        # With this size every character has a piece: nothing is cut, and sentencepiece has what it asks for.
        enough = (
            FIRST_BYTE_ID + 256 + np.count_nonzero(counts) if byte_fallback and (rare or room <= 0) else None
        )
        # A corpus has no more pieces than short parts of lines. Told to find far more, the library takes
        # seconds to refuse, or never comes back.
        most_pieces = FIRST_BYTE_ID + 256 + MAX_PIECE_CHARACTERS * sum(map(len, lines))
        model = io.BytesIO()
        try:
            library.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=model_type,
                vocab_size=min(vocab_size, most_pieces),
                byte_fallback=byte_fallback,
                character_coverage=character_coverage,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,  # indentation in few tokens
                max_sentence_length=4 * MAX_LINE_CHARACTERS + 1,  # in bytes
                num_threads=TRAINING_THREADS,
                eos_id=EOD_ID,
                eos_piece=EOD_PIECE,
                unk_id=UNKNOWN_ID,
                unk_piece=UNKNOWN_PIECE,
                bos_id=-1,
                pad_id=-1,
                control_symbols=[NEWLINE_PIECE],
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise _explained(
                str(error), vocab_size, byte_fallback, enough if given is None else None
            ) from None
        return cls(model.getvalue(), normalization)

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
        settings = self._settings_file(vocab_size=self.vocab_size, model_sha256=checksum)
        return {MODEL_FILE: self._model, SETTINGS_FILE: settings}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict) -> "SentencePieceTokenizer":
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


def _training_lines(texts: Iterable[str], normalization: str) -> Iterator[str]:
    """Yield the non-empty lines of the corpus, cut where the trainer would refuse them."""
    for text in texts:
        text = normalize(text, normalization)
        if TRAINER_CUTS.search(text):
            text = TRAINER_CUTS.sub("\n", text)
        for line in text.split("\n"):
            for start in range(0, len(line), MAX_LINE_CHARACTERS):
                yield line[start : start + MAX_LINE_CHARACTERS]


def _thinned(lines: Iterable[str], most: int) -> list[str]:
    """Keep every line, or every 2nd, 4th, 8th ... so that at most `most` characters remain."""
    kept, characters, stride = [], 0, 1
    for number, line in enumerate(lines):
        if number % stride:
            continue
        kept.append(line)
        characters += len(line)
        while characters > most:
            kept = kept[::2]
            characters = sum(map(len, kept))
            stride *= 2
    return kept


def _counted(lines: list[str]) -> np.ndarray:
    """Return how often each character comes, by code point."""
    counts = np.zeros(sys.maxunicode + 1, np.int64)
    for start in range(0, len(lines), COUNTED_LINES):
        found = np.bincount(code_points("".join(lines[start : start + COUNTED_LINES])))
        counts[: len(found)] += found
    return counts


def _rare_characters(counts: np.ndarray, room: int) -> list[str]:
    """Return the characters beyond the room / 2 most frequent ones; none if there is room for all."""
    codes = np.flatnonzero(counts)
    if len(codes) <= room:
        return []
    return [chr(code) for code in codes[np.argsort(-counts[codes], kind="stable")][room // 2 :].tolist()]


def _cut_at(lines: list[str], characters: list[str]) -> list[str]:
    """Cut lines at each of the characters, so that the trainer does not see it."""
    cuts = str.maketrans(dict.fromkeys(characters, "\n"))
    return [part for line in lines for part in line.translate(cuts).split("\n")]


def _explained(message: str, vocab_size: int, byte_fallback: bool, enough: int | None) -> InputError:
    """Turn the trainer's complaint into one line with the remedy.

    Args:
        message: what the trainer said of the text that it was given.
        vocab_size: the size that was asked for.
        byte_fallback: whether the bytes are a part of it.
        enough: a size that works, where characters of the text were kept from the trainer or there is no room
            for any.
    """
    smallest = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if enough or smallest:
        bytes_too = " the 256 bytes," if byte_fallback else ""
        needed = f"{enough or int(smallest[1])}"
        return InputError(
            f"vocab_size is {vocab_size}, but{bytes_too} the special tokens and the characters of this "
            "corpus "
            f"need {needed}: set vocab_size to {needed} or more"
        )
    if largest := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        return InputError(
            f"vocab_size is {vocab_size}, but this corpus allows at most {largest[1]} pieces: "
            f"set vocab_size to {largest[1]} or less, or use a larger corpus"
        )
    return InputError(f"sentencepiece could not train a vocabulary of {vocab_size}: {message}")


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
            "newline, then "
            "bytes or none, then plain pieces, and a text that is left as it is; train the tokenizer again"
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
