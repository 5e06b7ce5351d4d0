"""The cache folder: what was learnt or tokenized once lies there under a fingerprint of all that decides it.

`tokenizers/FINGERPRINT/` and `tokens/FINGERPRINT/`, one folder for each tokenizer and for each tokenized split.
A folder is written under another name and then renamed, so it is there whole or not at all.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lm_keras.errors import InputError

FORMAT = 1
"""Part of every fingerprint, so that a new format never reads the old one's folders."""

SWEEP_AFTER_SECONDS = 24 * 3600
"""Age at which an unfinished folder in the cache is taken for the leftover of a killed run."""


def cache_folder(cache_dir: str | None) -> Path:
    """Return the folder of the token cache: the flag, else $LM_KERAS_CACHE, else ~/.cache/lm_keras."""
    return Path(cache_dir or os.environ.get("LM_KERAS_CACHE") or "~/.cache/lm_keras").expanduser()


def fingerprint_of(content: dict) -> str:
    """Return 32 hexadecimal digits that stand for everything that decides what a folder holds."""
    text = json.dumps({"format": FORMAT, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that is there whole or not at all.

    Args:
        folder: where it goes. If somebody else makes the same folder first, theirs stays.
        fill: writes the files into the folder that it is given.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        try:
            fill(temporary)
            for path in [*temporary.iterdir(), temporary]:
                _sync(path)
            with contextlib.suppress(FileExistsError):
                temporary.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            if not folder.is_dir():  # Else somebody was faster.
                raise error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; "
            "free space there or choose another folder (--cache_dir for tokenized text)"
        ) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    for path in folder.glob(".unfinished-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > SWEEP_AFTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
