"""The secret of a private run, from which sample, noise and masks come. Who knows it can subtract the noise.

It lies in `privacy.key` in the run folder and nowhere else. A step that is repeated after a kill so has the
same noise as before, and publishes nothing new.
"""

import hashlib
import os
import stat
from pathlib import Path

from lm_keras.errors import InputError, not_written

NAME, SIZE = "privacy.key", 16
"""Name of the file in a run folder, and bytes of the secret, which it holds as hexadecimal digits."""


def make(folder: Path) -> None:
    """Draw the secret of a new run; one that is there already stays.

    Raises:
        InputError: the file cannot be written.
    """
    path, temporary = folder / NAME, folder / f".{NAME}.{os.getpid()}.tmp"
    if path.exists():
        return
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(SIZE).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise not_written(path, error) from None


def read(folder: Path) -> bytes:
    """Return the secret of a run.

    Raises:
        InputError: the file is missing or damaged, or others may read it.
    """
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode, content = os.fstat(descriptor).st_mode, file.read(2 * SIZE + 2)
        secret = bytes.fromhex(content.decode("ascii"))
        if not stat.S_ISREG(mode) or len(secret) != SIZE:
            raise ValueError(f"{len(secret)} bytes, where {SIZE} belong")
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing, without which the private run can't go on: steps that are repeated would"
            " have other noise; restore it, or begin a new run with another --run_dir"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); restore it from a copy") from None
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"{path} may be read by others, who could subtract the noise; run chmod 600 {path}")
    return secret


def of_seed(seed: int) -> bytes:
    """Return the secret of `--dp_seed`, which is none."""
    return hashlib.sha256(f"lm_keras --dp_seed={seed}".encode()).digest()[:SIZE]


def derived(secret: bytes, purpose: str) -> bytes:
    """Return a key of `SIZE` bytes for one purpose; keys of other purposes say nothing of it."""
    return hashlib.sha256(secret + purpose.encode()).digest()[:SIZE]
