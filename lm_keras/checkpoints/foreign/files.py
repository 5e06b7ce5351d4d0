"""The files of a model's folder beside weights and tokenizer: which come back, which are refused, which are
left out.
"""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from lm_keras.checkpoints.foreign.tensors import INDEX, WEIGHTS
from lm_keras.conversations.template import CHATML, END_OF_TURN
from lm_keras.disk.files import bytes_of
from lm_keras.errors import InputError
from lm_keras.text.huggingface import MAX_VOCABULARY
from lm_keras.text.model_folder import CONFIG_BYTES, FILES, json_of
from lm_keras.text.special import TEMPLATE_FILE
from lm_keras.text.tokenizer import Tokenizer

CONFIG, TOKENIZER_CONFIG, GENERATION_CONFIG = "config.json", "tokenizer_config.json", "generation_config.json"

KEPT = {
    CONFIG: "its keys come back, with what the run has changed since",
    TOKENIZER_CONFIG: "comes back as it was",
    "special_tokens_map.json": "comes back as it was",
    "added_tokens.json": "comes back as it was",
    TEMPLATE_FILE: "comes back as it was; it makes tokens of a conversation",
    "chat_template.json": "comes back as it was",
    "additional_chat_templates/*.jinja": "come back as they were",
    GENERATION_CONFIG: "comes back as it was; the tokens of its `eos_token_id` end a text here, too",
}
"""Files that a run keeps, so that they come back with `--to_hf`."""

ADAPTER = "adapter_config.json"

DESCRIPTIONS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "USE_POLICY.md")
"""Files for people, which are left out without a word."""

SENTENCEPIECE = "tokenizer.model"

MOST_TEMPLATES = 100


def check_folder(folder: Path) -> None:
    """Raise InputError if a folder holds a change of a model and no model."""
    if os.path.exists(folder / ADAPTER):  # Which a folder without permissions does not stop.
        raise InputError(
            f"{folder} has {ADAPTER}: an adapter, which changes the weights of another model; merge it into"
            " that one (merge_and_unload of peft) and save the model as safetensors"
        )


def kept_files(folder: Path) -> dict[str, str]:
    """Return the content of the files that a run keeps, by name.

    Raises:
        InputError: one cannot be read or is not UTF-8, or one with settings is not a JSON object.
    """
    found = {}
    for pattern in KEPT:
        paths = [folder / pattern] if "*" not in pattern else sorted(folder.glob(pattern))[:MOST_TEMPLATES]
        for path in paths:
            if not path.exists():
                continue
            if path.suffix == ".json":
                json_of(path)
            name = str(path.relative_to(folder))
            try:
                found[name] = bytes_of(path, CONFIG_BYTES).decode("utf-8")
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror or error}") from None
            except UnicodeDecodeError:
                raise InputError(f"{path} is not UTF-8; restore it from a copy") from None
    return found


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write files that a run kept into a new folder, those of `KEPT` only."""
    for name, content in files.items():
        path = PurePosixPath(name)
        if ".." not in path.parts and any(
            str(path.parent) == str(PurePosixPath(p).parent) and path.match(p) for p in KEPT
        ):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content.encode("utf-8"))


def left_out(folder: Path, read: list[Path]) -> list[str]:
    """Return the names of the files that are neither read nor kept.

    Args:
        folder: of the model.
        read: the files with its weights.
    """
    known = {*KEPT, *FILES, *DESCRIPTIONS, WEIGHTS, INDEX, *(path.name for path in read)}
    if any(os.path.exists(folder / name) for name in FILES if name != SENTENCEPIECE):
        known.discard(SENTENCEPIECE)  # Which is read where there is no other tokenizer only.
    try:
        there = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError:  # A folder whose files may be read, but not listed.
        return []
    return [name for name in there if name not in known and not name.startswith(".")]


def end_tokens(files: dict[str, str]) -> list[int]:
    """Return the tokens at which the library ends a text: those of generation_config.json, else of
    config.json.
    """
    for name in (GENERATION_CONFIG, CONFIG):
        ends = object_in(files.get(name, "{}")).get("eos_token_id")
        if ends is not None:
            ends = ends if isinstance(ends, list) else [ends]
            return [token for token in ends if type(token) is int and 0 <= token < MAX_VOCABULARY]
    return []


def all_ends(files: dict[str, str], tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that end a text of a run, beside the one that ends its documents.

    Args:
        files: those that the run keeps.
        tokenizer: of the run.
    """
    ends = end_tokens(files)
    if tokenizer.chat_template == CHATML:
        ends = [*ends, tokenizer.special_tokens[END_OF_TURN]]
    return [token for token in dict.fromkeys(ends) if token != tokenizer.eod_id]


def templates_not_taken(files: dict[str, str]) -> list[str]:
    """Return the names of the chat templates in tokenizer_config.json where there are several and none of
    them is called default, nor is there a file with one.
    """
    named = object_in(files.get(TOKENIZER_CONFIG, "{}")).get("chat_template")
    if not isinstance(named, list) or TEMPLATE_FILE in files:
        return []
    names = [str(one.get("name")) for one in named if isinstance(one, dict)]
    return [] if "default" in names else names


def chat_files(files: dict[str, str], tokenizer: Tokenizer) -> dict[str, str]:
    """Return the files of a run's chat template and of the tokens that end its answers, by name; none where
    the files that the run keeps tell them.
    """
    found = {}
    kept = object_in(files.get(TOKENIZER_CONFIG, "{}")).get("chat_template")
    if tokenizer.chat_template not in (None, files.get(TEMPLATE_FILE), kept):
        found[TEMPLATE_FILE] = tokenizer.chat_template
    ends = all_ends(files, tokenizer)
    if set(ends) - set(end_tokens(files)):
        there = object_in(files.get(GENERATION_CONFIG, "{}"))
        content = {**there, "eos_token_id": [tokenizer.eod_id, *ends]}
        found[GENERATION_CONFIG] = json.dumps(content, indent=1) + "\n"
    return found


def object_in(content: str) -> dict[str, Any]:
    """Return the settings in a file that a run kept.

    Raises:
        InputError: it is not a JSON object; the record of the run was changed.
    """
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"huggingface.json of the run holds no JSON ({error}); restore it from a copy"
        ) from None
    if not isinstance(settings, dict):
        raise InputError("huggingface.json of the run holds no JSON object; restore it from a copy")
    return settings
