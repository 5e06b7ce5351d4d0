"""Characters as tokens."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_keras.errors import InputError
from lm_keras.text.code_points import code_points
from lm_keras.text.files import SETTINGS_FILE, damaged, field
from lm_keras.text.normalization import check_form, normalize
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

NUM_CODE_POINTS = 0x110000
NUM_SPECIAL = 2  # <eod> and <unk>
COUNTED_CHARACTERS = 2**20  # counting works on joined texts of about this length


class CharTokenizer(Tokenizer):
    r"""One token a character.

    The vocabulary is `<eod>` (0), `<unk>` (1), then the characters by code point. A character that was not
    seen in training becomes `<unk>`, so `lossless` is False; the round trip `decode(encode(x)) ==
    normalize(x)` holds exactly for those `x` whose normal form has only known characters.

    Example:
        >>> tokenizer = CharTokenizer("ab\n", normalization="none")
        >>> tokenizer.encode("ba\nz"), tokenizer.decode([4, 3, 2, 1])
        ([4, 3, 2, 1], 'ba\n�')
    """

    name = "char"
    unknown_id = mask_id = 1
    lossless = False
    learns_from_train = (
        False  # The alphabet is that of the whole corpus, as is customary for character models.
    )

    def __init__(self, characters: Iterable[str], normalization: str):
        """Take the known characters, in any order."""
        codes = sorted({ord(character) for character in characters})
        super().__init__(normalization, [b"", REPLACEMENT, *(chr(code).encode("utf-8") for code in codes)])
        self.characters = "".join(map(chr, codes))
        # One entry more than the largest known code point: what lies beyond is looked up there.
        self._ids = np.full(codes[-1] + 2 if codes else 1, self.unknown_id, np.int32)
        self._ids[codes] = np.arange(NUM_SPECIAL, NUM_SPECIAL + len(codes), dtype=np.int32)

    @classmethod
    def train(cls, texts: Iterable[str], settings: Mapping[str, Any]) -> "CharTokenizer":
        """Collect the characters of a corpus.

        Args:
            texts: the corpus in pieces, cut after line feeds; read once.
            settings: `normalization`, and `vocab_size`, the whole size with `<eod>` and `<unk>`; the most
                frequent characters are kept (among equals the lower code point). None keeps every character.

        Raises:
            InputError: the corpus is empty or has fewer characters than `vocab_size` asks for.
        """
        normalization, vocab_size = check_form(settings["normalization"]), settings["vocab_size"]
        counts = np.zeros(NUM_CODE_POINTS, np.int64)
        for text in _joined(normalize(text, normalization) for text in texts):
            found = np.bincount(code_points(text))
            counts[: len(found)] += found
        codes = np.flatnonzero(counts)
        if not len(codes):
            raise InputError("no text to train a tokenizer on: expected a corpus with at least one character")
        if vocab_size is not None:
            largest = NUM_SPECIAL + len(codes)
            if not NUM_SPECIAL < vocab_size <= largest:
                raise InputError(
                    f"vocab_size is {vocab_size}, but this corpus has {len(codes)} different characters: "
                    f"expected {NUM_SPECIAL + 1} to {largest} (with <eod> and <unk>); "
                    "leave vocab_size out to keep every character"
                )
            by_frequency = np.argsort(-counts[codes], kind="stable")
            codes = codes[by_frequency[: vocab_size - NUM_SPECIAL]]
        return cls(map(chr, codes.tolist()), normalization)

    def _encode(self, text: str) -> np.ndarray:
        return self._ids.take(code_points(text), mode="clip")

    def _files(self) -> dict[str, bytes]:
        return {SETTINGS_FILE: self._settings_file(characters=self.characters)}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "CharTokenizer":
        characters = field(folder, settings, "characters", str)
        codes = [ord(character) for character in characters]
        if not codes:
            raise damaged(folder, "the field 'characters' is empty")
        if any(a >= b for a, b in itertools.pairwise(codes)):
            raise damaged(folder, "the field 'characters' is not in ascending order without repeats")
        if any(0xD800 <= code < 0xE000 for code in codes):
            raise damaged(folder, "the field 'characters' has a lone surrogate")
        return cls(characters, settings["normalization"])


def _joined(texts: Iterable[str]) -> Iterator[str]:
    """Join short texts, because counting has a fixed cost a call."""
    waiting, length = [], 0
    for text in texts:
        waiting.append(text)
        length += len(text)
        if length >= COUNTED_CHARACTERS:
            yield "".join(waiting)
            waiting, length = [], 0
    if length:
        yield "".join(waiting)
