"""Tokenizers: strings to ids and back. Nothing here needs TensorFlow."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_keras import registry
from lm_keras.config import DataConfig
from lm_keras.errors import InputError, nearest
from lm_keras.text.byte import ByteTokenizer
from lm_keras.text.char import CharTokenizer
from lm_keras.text.code_points import count_words
from lm_keras.text.decoder import Decoder
from lm_keras.text.files import SETTINGS_FILE, damaged, read_settings
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.model_folder import is_of_library, read_tokenizer
from lm_keras.text.normalization import FORMS, normalize
from lm_keras.text.sentencepiece import SentencePieceTokenizer
from lm_keras.text.sentencepiece_model import SentencePieceModel
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.text.word import WordTokenizer
from lm_keras.text.wordpiece import WordPieceTokenizer

__all__ = [
    "FORMS",
    "SAVED",
    "TOKENIZERS",
    "ByteTokenizer",
    "CharTokenizer",
    "Decoder",
    "HuggingFaceTokenizer",
    "SentencePieceModel",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WordPieceTokenizer",
    "WordTokenizer",
    "count_words",
    "find_tokenizer",
    "load_tokenizer",
    "normalize",
    "saved_in",
    "train_tokenizer",
]

TOKENIZERS: dict[str, type[Tokenizer]] = {
    name: getattr(registry.module_of("text", row), row.kind) for name, row in registry.TOKENIZERS.items()
}
"""The classes of those that can be learnt from a text, the rows of `lm_keras.registry.TOKENIZERS`."""

_USUAL = {**DataConfig().tokenizer_settings(), "vocab_size": None}

SAVED = TOKENIZERS | {one.name: one for one in (HuggingFaceTokenizer, WordPieceTokenizer, SentencePieceModel)}
"""Those that a folder may hold."""


def train_tokenizer(name: str, texts: Iterable[str], **settings: Any) -> Tokenizer:
    r"""Train the tokenizer of that name on a corpus.

    Args:
        name: a key of `TOKENIZERS`.
        texts: pieces of text, each cut after a line feed or at a document's end; read once (`byte`: not at
        all). **settings: some of the keys of `DataConfig.tokenizer_settings`; those that are left out have
            their defaults: `vocab_size`, the whole size of the vocabulary (`word`: the largest), None for
            every character (`char`) or word (`word`); `normalization`, the name of the Unicode normalization
            form, `none` to leave text alone; and for `sentencepiece` `model_type`, `bpe` or `unigram`, and
            `byte_fallback`, to spell unknown characters in bytes.

    Raises:
        InputError: a name is unknown, a setting is wrong, or the corpus does not allow that size.

    Example:
        >>> train_tokenizer("char", ["abba\n"]).vocab_size
        5
    """
    if name not in TOKENIZERS:
        raise _unknown(name)
    return TOKENIZERS[name].train(texts, {**_USUAL, **settings})


def find_tokenizer(name: str) -> Path | None:
    """Return the folder of the saved tokenizer that a name means, or None for a key of `TOKENIZERS`.

    A key wins over a folder of the same name: `char` is the kind, `./char` the folder.

    Args:
        name: a key, a folder that a tokenizer was saved to, the folder of a run, or that of another project's
            model.

    Raises:
        InputError: it is none of them.
    """
    if name in TOKENIZERS:
        return None
    folder = saved_in(name)
    if folder is None:
        raise _unknown(name)
    return folder


def saved_in(folder: str | Path) -> Path | None:
    """Return the folder if it holds a tokenizer, ours or another project's, else its `tokenizer/`, else None.

    Raises:
        InputError: a file of another project's tokenizer is damaged.
    """
    for place in (Path(folder), Path(folder) / "tokenizer"):
        if os.path.isfile(place / SETTINGS_FILE):  # Which a name that is too long does not stop.
            return place
        if os.path.isdir(place) and read_tokenizer(place):
            return place
    return None


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Load a saved tokenizer of any kind, or that of another project's model.

    Raises:
        InputError: the folder has no `tokenizer.json`, or a file in it is damaged.
    """
    if is_of_library(Path(folder)) and (found := read_tokenizer(Path(folder))):
        return found
    name = read_settings(folder)["tokenizer"]
    if name not in SAVED:
        good = list(SAVED)
        raise damaged(
            folder, f"unknown tokenizer {name!r}{nearest(name, good)} (known are {', '.join(good)})"
        )
    return SAVED[name].load(folder)


def _unknown(name: str) -> InputError:
    good = f"expected one of {', '.join(TOKENIZERS)}, or a folder with a saved tokenizer or a model's"
    if os.path.exists(Path(name)):
        return InputError(
            f"no tokenizer in {name!r}: {good}, which has {SETTINGS_FILE}, vocab.json and merges.txt, "
            "vocab.txt or tokenizer.model or, in a run's folder, "
            f"tokenizer/{SETTINGS_FILE}"
        )
    return InputError(f"unknown tokenizer {name!r}{nearest(name, list(TOKENIZERS))}: {good}")
