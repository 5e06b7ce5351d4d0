"""Tokenizers: strings to ids and back. Nothing here needs TensorFlow."""

from collections.abc import Iterable
from pathlib import Path

from lm_keras.errors import InputError, nearest
from lm_keras.text.char import CharTokenizer
from lm_keras.text.files import damaged, read_settings
from lm_keras.text.normalization import FORMS, normalize
from lm_keras.text.sentencepiece import SentencePieceTokenizer
from lm_keras.text.tokenizer import Decoder, Tokenizer

__all__ = [
    "FORMS",
    "TOKENIZERS",
    "CharTokenizer",
    "Decoder",
    "SentencePieceTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "normalize",
    "train_tokenizer",
]

TOKENIZERS = {"char": CharTokenizer, "sentencepiece": SentencePieceTokenizer}


def train_tokenizer(
    name: str,
    texts: Iterable[str],
    *,
    vocab_size: int | None,
    normalization: str,
    model_type: str = "bpe",
    byte_fallback: bool = True,
) -> Tokenizer:
    r"""Train the tokenizer of that name on a corpus.

    Args:
        name: a key of `TOKENIZERS`.
        texts: pieces of text, each cut after a line feed or at a document's end; read once.
        vocab_size: whole size of the vocabulary; None means every character for `char`.
        normalization: name of the Unicode normalization form, `none` to leave text alone.
        model_type: `bpe` or `unigram`, for `sentencepiece`.
        byte_fallback: spell unknown characters in bytes, for `sentencepiece`.

    Raises:
        InputError: a name is unknown, a setting is wrong, or the corpus does not allow that size.

    Example:
        >>> train_tokenizer("char", ["abba\n"], vocab_size=None, normalization="none").vocab_size
        5
    """
    if name not in TOKENIZERS:
        good = list(TOKENIZERS)
        raise InputError(
            f"unknown tokenizer {name!r}{nearest(name, good)}: expected one of {', '.join(good)}, "
            "or a folder with a saved tokenizer"
        )
    if name == "char":
        return CharTokenizer.train(texts, normalization, vocab_size)
    if vocab_size is None:
        raise InputError("the sentencepiece tokenizer needs a vocab_size, for instance 8000")
    return SentencePieceTokenizer.train(
        texts, vocab_size, normalization=normalization, model_type=model_type, byte_fallback=byte_fallback
    )


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Load a saved tokenizer of any kind.

    Raises:
        InputError: the folder has no `tokenizer.json`, or a file in it is damaged.
    """
    name = read_settings(folder)["tokenizer"]
    if name not in TOKENIZERS:
        good = list(TOKENIZERS)
        raise damaged(
            folder, f"unknown tokenizer {name!r}{nearest(name, good)} (known are {', '.join(good)})"
        )
    return TOKENIZERS[name].load(folder)
