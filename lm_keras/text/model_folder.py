"""The tokenizer of a model's folder, as Hugging Face keeps it."""

import json
from pathlib import Path

from lm_keras.errors import InputError
from lm_keras.text.files import bytes_of
from lm_keras.text.huggingface import END_NAMES, HuggingFaceTokenizer
from lm_keras.text.wordpiece import WordPieceTokenizer, is_wordpiece, read_vocabulary


def read_folder(folder: Path, **settings) -> HuggingFaceTokenizer | None:
    """Read the tokenizer of a model's folder: tokenizer.json, vocab.json with merges.txt, or vocab.txt; None without any.

    Args:
        folder: of the model.
        settings: `eod_id`, which may be None where a token's name tells it, and `vocab_size`.

    Raises:
        InputError: a file is damaged, or nothing tells which token ends a document.
    """
    files = {name: folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")}
    if files["tokenizer.json"].exists():
        model = _bytes(files["tokenizer.json"])
        if settings["eod_id"] is None:
            settings["eod_id"] = HuggingFaceTokenizer.end_in(model)
        if settings["eod_id"] is None:
            raise InputError(
                f"{files['tokenizer.json']} has none of the tokens {', '.join(END_NAMES)}, and config.json no eos_token_id: "
                "nothing tells which token ends a document; write eos_token_id into config.json"
            )
        kind = WordPieceTokenizer if is_wordpiece(model) else HuggingFaceTokenizer
        return kind(model, **settings)
    if files["vocab.json"].exists() and files["merges.txt"].exists():
        return HuggingFaceTokenizer.of_byte_level_bpe(
            _bytes(files["vocab.json"]), _bytes(files["merges.txt"]), **settings
        )
    if files["vocab.txt"].exists():
        del settings["eod_id"]  # BERT's says nothing of it: [SEP] does.
        return read_vocabulary(files["vocab.txt"], _bytes(files["vocab.txt"]), _settings(folder), **settings)
    return None


def _settings(folder: Path) -> dict | None:
    """Return what tokenizer_config.json says, or None where there is none."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return None
    try:
        settings = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{path} is no JSON ({error})") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} is no JSON object; restore it from a copy")
    return settings


def _bytes(path: Path) -> bytes:
    try:
        return bytes_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
