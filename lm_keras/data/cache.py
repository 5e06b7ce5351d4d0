"""The cache folder: what was learnt or tokenized once lies there under a fingerprint of all that decides it.

`tokenizers/FINGERPRINT/` and `tokens/FINGERPRINT/`, one folder for each tokenizer and for each tokenized split.
`folders.py` says how such a folder is written, checked, and made again when it is damaged.
"""

import hashlib
import json
import os
from pathlib import Path

FORMAT = 3
"""Part of every fingerprint, so that a new format never reads the old one's folders."""


def cache_folder(cache_dir: str | None) -> Path:
    """Return the folder of the token cache: the flag, else $LM_KERAS_CACHE, else ~/.cache/lm_keras."""
    return Path(cache_dir or os.environ.get("LM_KERAS_CACHE") or "~/.cache/lm_keras").expanduser()


def fingerprint_of(content: dict) -> str:
    """Return 32 hexadecimal digits that stand for everything that decides what a folder holds."""
    text = json.dumps({"format": FORMAT, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
