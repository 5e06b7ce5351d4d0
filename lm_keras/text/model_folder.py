"""The tokenizer in the folder of another project's model, with the tokens that its settings say begin and end
a document.
"""

import json
from pathlib import Path
from typing import Any

from lm_keras.disk.files import bytes_of
from lm_keras.errors import InputError
from lm_keras.text import library, switches
from lm_keras.text.byte_level_bpe import of_two_files
from lm_keras.text.chat_files import template_in
from lm_keras.text.files import SETTINGS_FILE
from lm_keras.text.huggingface import END_NAMES, MAX_VOCABULARY, HuggingFaceTokenizer
from lm_keras.text.sentencepiece_model import SentencePieceModel
from lm_keras.text.wordpiece import WordPieceTokenizer, is_wordpiece, read_vocabulary

FILES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model")
"""What a model's folder may have of a tokenizer."""

UNREAD = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "tokenizer.model.v3",
    "tekken.json",
)
"""Files of tokenizers that are not read."""

CONFIG_BYTES = 2**20
"""More than any config.json has."""


def read_tokenizer(
    folder: Path, vocab_size: int | None = None
) -> HuggingFaceTokenizer | SentencePieceModel | None:
    """Read the tokenizer of a model's folder, or return None if there is none.

    The target of an encoder and a decoder begins with `decoder_start_token_id` of config.json. Any other
    document ends with `eos_token_id` there, if that is there, else with `eos_token` of
    tokenizer_config.json, and begins with its `bos_token_id`, else with `bos_token` there, else with what the
    post-processor of tokenizer.json puts first, unless `add_bos_token` says that it does not. Where nothing
    says how, it begins as it ends.

    Args:
        folder: of the model.
        vocab_size: tokens of the network; None for `vocab_size` of config.json.

    Raises:
        InputError: a file is damaged or not read here, two files contradict each other, or nothing tells
            which token ends a document.
    """
    if not any((folder / name).is_file() for name in FILES):
        unread = [name for name in UNREAD if (folder / name).is_file()]
        if unread:
            raise InputError(
                f"{folder} has its tokenizer only in {unread[0]}, which is not read here; {switches.SAVE}"
            )
        return None
    path = folder / "config.json"
    config, theirs = json_of(path) if path.exists() else {}, _beside(folder, switches.FILE)
    if vocab_size is None and "vocab_size" in config:
        vocab_size = size_in(config)
    eod_id, begin = (_id(config, name, vocab_size) for name in ("eos_token_id", "bos_token_id"))
    tokenizer = read_folder(folder, eod_id=eod_id, vocab_size=vocab_size)
    if tokenizer is None:
        return None
    if config.get("is_encoder_decoder") is True or config.get("model_type") == "marian":
        begin = _id(config, "decoder_start_token_id", vocab_size)
        if begin is None:
            raise InputError(f"{path} has no 'decoder_start_token_id', which a decoder reads first")
    if begin is None:
        begin = switches.name_in(theirs, "bos_token") or getattr(tokenizer, "first_name", None)
    tokenizer = tokenizer if theirs.get("add_bos_token") is False else tokenizer.beginning_with(begin)
    return tokenizer.with_chat_template(
        *template_in(folder, theirs, _beside(folder, "special_tokens_map.json"))
    )


def read_folder(folder: Path, **settings: int | None) -> HuggingFaceTokenizer | SentencePieceModel | None:
    """Read tokenizer.json, vocab.json with merges.txt, vocab.txt, or tokenizer.model of a folder; None
    without any.

    Args:
        folder: of the model.
        settings: `eod_id`, which may be None where a token's name tells it, and `vocab_size`.

    Raises:
        InputError: a file is damaged, two contradict each other, or nothing tells which token ends a
            document.
    """
    files = {name: folder / name for name in FILES}
    theirs = _beside(folder, switches.FILE)
    end = switches.name_in(theirs, "eos_token")
    if files["tokenizer.json"].exists():
        model = _bytes(files["tokenizer.json"])
        if settings["eod_id"] is None:
            settings["eod_id"] = HuggingFaceTokenizer.end_in(model, end)
        if settings["eod_id"] is None:
            raise InputError(
                f"{files['tokenizer.json']} has none of the tokens {', '.join(END_NAMES)}, and config.json no"
                " eos_token_id: nothing tells which token ends a document; write eos_token_id into"
                " config.json"
            )
        kind = WordPieceTokenizer if is_wordpiece(model) else HuggingFaceTokenizer
        try:
            tokenizer = kind(model, **settings)
        except InputError as error:
            raise InputError(f"{files['tokenizer.json']}: {error}") from None
        switches.check_against(
            folder, theirs, library.content_of(model, library.read(model)) if theirs else {}
        )
        return tokenizer
    added = _beside(folder, "added_tokens.json")
    if files["vocab.json"].exists() and files["merges.txt"].exists():
        switches.check_class(folder, theirs, switches.GPT2_CLASSES, "vocab.json")
        vocabulary = _bytes(files["vocab.json"])
        tokenizer = of_two_files(
            vocabulary,
            _bytes(files["merges.txt"]),
            **settings,
            end=end,
            prefix=theirs.get("add_prefix_space") is True,
        )
        switches.check_added(folder, set(json.loads(vocabulary)), added, theirs)
        return tokenizer
    if files["vocab.txt"].exists():
        del settings["eod_id"]  # BERT's says nothing of it: [SEP] does.
        switches.check_class(folder, theirs, switches.BERT_CLASSES, "vocab.txt")
        tokenizer = read_vocabulary(files["vocab.txt"], _bytes(files["vocab.txt"]), theirs, **settings)
        switches.check_added(folder, set(filter(None, tokenizer.names)), added, theirs)
        return tokenizer
    if files["tokenizer.model"].exists():
        switches.check_class(folder, theirs, switches.LLAMA_CLASSES, "tokenizer.model")
        try:
            tokenizer = SentencePieceModel(_bytes(files["tokenizer.model"]), **settings)
        except InputError as error:
            raise InputError(f"{files['tokenizer.model']}: {error}; or {switches.SAVE}") from None
        switches.check_prefix(folder, theirs, tokenizer.prefixes)
        switches.check_added(folder, set(tokenizer.names), added, theirs)
        return tokenizer
    return None


def _beside(folder: Path, name: str) -> dict[str, Any]:
    return json_of(folder / name) if (folder / name).exists() else {}


def _bytes(path: Path) -> bytes:
    try:
        return bytes_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def is_of_library(folder: Path) -> bool:
    """Tell whether a folder has no tokenizer that was saved here: its tokenizer.json is that of Hugging
    Face's library, or missing.
    """
    try:
        content = json.loads(bytes_of(folder / SETTINGS_FILE))
    except FileNotFoundError:
        return True
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(content, dict)
        and "format_version" not in content
        and isinstance(content.get("model"), dict)
    )


def size_in(config: dict[str, Any]) -> int:
    """Return the `vocab_size` of a config.json.

    Raises:
        InputError: it is none.
    """
    size = config.get("vocab_size")
    if type(size) is not int or not 1 <= size <= MAX_VOCABULARY:
        raise InputError(f"config.json has {size!r} for 'vocab_size'")
    return size


def json_of(path: Path) -> dict[str, Any]:
    """Read a JSON object of settings.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(bytes_of(path, CONFIG_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent} holds no model: {path.name} is missing") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); restore it from a copy") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; restore it from a copy")
    return content


def _id(config: dict[str, Any], name: str, vocab_size: int | None) -> int | None:
    token, most = config.get(name), vocab_size or MAX_VOCABULARY
    token = token[0] if isinstance(token, list) and token else token
    if token is not None and (type(token) is not int or not 0 <= token < most):
        raise InputError(f"config.json has {token!r} for {name!r}, and {most:,} tokens")
    return token
