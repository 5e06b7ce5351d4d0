"""The files of a saved tokenizer, read with distrust."""

import json
import os
from pathlib import Path
from typing import Any

from lm_keras.disk.files import bytes_of
from lm_keras.errors import InputError

SETTINGS_FILE = "tokenizer.json"
FORMAT_VERSION = 1


def read_bytes(path: Path) -> bytes:
    """Read one file of a saved tokenizer.

    Raises:
        InputError: the file is missing, unreadable or far too large.
    """
    try:
        return bytes_of(path)
    except FileNotFoundError:
        raise InputError(
            f"no file {path}: expected a folder that a tokenizer was saved to (with {SETTINGS_FILE} in it)"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def write_settings(settings: dict[str, Any]) -> bytes:
    """Return the bytes of `tokenizer.json` for these settings."""
    content = {"format_version": FORMAT_VERSION, **settings}
    return (json.dumps(content, ensure_ascii=True, indent=1) + "\n").encode("ascii")


def read_settings(folder: str | os.PathLike) -> dict:
    """Read `tokenizer.json` of a folder.

    Raises:
        InputError: the file is missing, is not a JSON object, or was written by a newer version.
    """
    path = Path(folder) / SETTINGS_FILE
    try:
        settings = json.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise damaged(folder, f"not valid JSON ({error})") from None
    if not isinstance(settings, dict):
        raise damaged(folder, f"expected a JSON object, found {type(settings).__name__}")
    version = field(folder, settings, "format_version", int)
    if version != FORMAT_VERSION:
        raise damaged(folder, f"format_version is {version}, this program reads {FORMAT_VERSION}")
    field(folder, settings, "tokenizer", str)
    return settings


def field(folder: str | os.PathLike, settings: dict[str, Any], name: str, kind: type) -> Any:
    """Return `settings[name]`, which must be of type `kind`.

    Raises:
        InputError: the field is missing or of another type.
    """
    if name not in settings:
        raise damaged(folder, f"the field {name!r} is missing")
    value = settings[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise damaged(folder, f"the field {name!r} should be {kind.__name__}, found {type(value).__name__}")
    return value


def damaged(folder: str | os.PathLike, reason: str) -> InputError:
    """Return the error for a saved tokenizer that cannot be trusted."""
    return InputError(
        f"{Path(folder) / SETTINGS_FILE} is damaged or no tokenizer: {reason}; "
        "restore it from a copy or train the tokenizer again"
    )
