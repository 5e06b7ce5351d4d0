"""The cache folder: what was learnt or tokenized once lies there under a fingerprint of all that decides it.

`tokenizers/FINGERPRINT/` and `tokens/FINGERPRINT/`, one folder for each tokenizer and for each tokenized
split. `disk/folders.py` says how such a folder is written, checked, and made again when it is damaged.
"""

import hashlib
import json
import os
from pathlib import Path

from lm_keras import paths
from lm_keras.errors import InputError

FORMAT = 3
"""Part of every fingerprint, so that a new format never reads the old one's folders."""


def cache_folder(cache_dir: str | None) -> Path:
    """Return the folder of the token cache: the flag, else $LM_KERAS_CACHE, else ~/.cache/lm_keras.

    Raises:
        InputError: the user is unknown or has no home folder.
    """
    given = cache_dir or os.environ.get("LM_KERAS_CACHE")
    try:
        return Path(paths.expanded(given or "~/.cache/lm_keras"))
    except InputError as error:
        why = error if given else "this user has no home folder, and HOME is not set"
        raise InputError(
            f"tokenized text has no folder ({why}); name one with --cache_dir or the environment"
            " variable LM_KERAS_CACHE"
        ) from None


def fingerprint_of(content: dict) -> str:
    """Return 32 hexadecimal digits that stand for everything that decides what a folder holds."""
    text = json.dumps({"format": FORMAT, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
