"""Training of subword tokens: what the library is given of a corpus, and how its complaints are read.

The layout of a model: 0 end of document, 1 unknown, 2 newline, then the bytes or none, then the pieces.
"""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import sentencepiece as library

from lm_keras.errors import InputError, nearest
from lm_keras.text.code_points import code_points
from lm_keras.text.normalization import check_form, normalize

MODEL_TYPES = ("bpe", "unigram")

# The library writes U+2581 for a space, so a U+2581 of the text is spelled in bytes, outside the library.
SPACE_MARK = "\u2581"

# The trainer reserves U+2585, and rejects NUL; special pieces are named with U+2585, so that no text can
# collide with them. It would also fail if it learned a piece that looks like a byte piece: cut those.
TRAINER_CUTS = re.compile(f"[\x00{SPACE_MARK}\u2585]|(?<=<0x)(?=[0-9A-F]{{2}}>)")
EOD_PIECE, UNKNOWN_PIECE, NEWLINE_PIECE = "\u2585eod", "\u2585unk", "\u2585newline"
EOD_ID, UNKNOWN_ID, NEWLINE_ID, FIRST_BYTE_ID = 0, 1, 2, 3

MAX_LINE_CHARACTERS = 4096  # longer lines are cut for the trainer, which would drop them
MAX_TRAINING_CHARACTERS = 2**24  # from a larger corpus the trainer gets evenly spaced lines, in 0.7 GB
MAX_PIECE_CHARACTERS = 16  # the library's default
COUNTED_LINES = 2**14  # lines whose characters are counted at once
TRAINING_THREADS = 16  # the unigram model depends on it in the last digits, so it is never the machine's own


def trained_model(texts: Iterable[str], settings: Mapping[str, Any]) -> bytes:
    """Return a serialized model; see `lm_keras.text.sentencepiece.SentencePieceTokenizer.train`."""
    vocab_size, normalization = settings["vocab_size"], check_form(settings["normalization"])
    model_type, byte_fallback = settings["model_type"], settings["byte_fallback"]
    character_coverage = settings.get("character_coverage")
    if vocab_size is None:
        raise InputError("the sentencepiece tokenizer needs a vocab_size, for instance 8000")
    if model_type not in MODEL_TYPES:
        hint = nearest(model_type, MODEL_TYPES)
        raise InputError(f"unknown model_type {model_type!r}{hint}: expected bpe or unigram")
    if not 0 < vocab_size < 2**31:
        raise InputError(f"vocab_size is {vocab_size}: expected a number of pieces above 0, such as 8000")
    given = character_coverage
    room = 0 if character_coverage or not byte_fallback else vocab_size - FIRST_BYTE_ID - 256
    if character_coverage is None:
        character_coverage = 0.9995 if byte_fallback else 1.0
    if not 0.98 <= character_coverage <= 1.0:
        raise InputError(f"character_coverage is {character_coverage}: expected 0.98 to 1")
    most_characters = settings.get("most_characters", MAX_TRAINING_CHARACTERS)
    lines = _thinned(_training_lines(texts, normalization), most_characters)
    if not lines:
        raise InputError("no text to train a tokenizer on: expected a corpus with at least one character")
    counts = _counted(lines)
    rare = _rare_characters(counts, room) if room > 0 else []
    if rare:
        lines, character_coverage = _cut_at(lines, rare), 1.0
    # With this size every character has a piece: nothing is cut, and sentencepiece has what it asks for.
    cut = byte_fallback and (rare or room <= 0)
    enough = FIRST_BYTE_ID + 256 + np.count_nonzero(counts) if cut else None
    # A corpus has no more pieces than short parts of lines. Told to find far more, the library takes
    # seconds to refuse, or never comes back.
    most = FIRST_BYTE_ID + 256 + MAX_PIECE_CHARACTERS * sum(map(len, lines))
    model = io.BytesIO()
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=model_type,
            vocab_size=min(vocab_size, most),
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
        enough = enough if given is None else None
        raise _explained(str(error), vocab_size, byte_fallback, enough) from None
    return model.getvalue()


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
            f"corpus need {needed}: set vocab_size to {needed} or more"
        )
    if largest := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        return InputError(
            f"vocab_size is {vocab_size}, but this corpus allows at most {largest[1]} pieces: "
            f"set vocab_size to {largest[1]} or less, or use a larger corpus"
        )
    return InputError(f"sentencepiece could not train a vocabulary of {vocab_size}: {message}")
