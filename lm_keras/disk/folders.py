"""Folders that are there whole or not at all, and those of the cache, which are also checked and mended."""

import contextlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from lm_keras.disk.files import bytes_of, opened
from lm_keras.errors import InputError, shown

SUMS = "sums.json"
"""File of a cached folder with size and CRC-32 of every other file."""

SWEEP_AFTER_SECONDS = 24 * 3600
"""Age at which an unfinished folder is taken for the leftover of a killed run."""

_BLOCK_BYTES = 2**20
_UNFINISHED = ".unfinished-"
_OTHER_CACHE = "free space there or choose another folder with --cache_dir or LM_KERAS_CACHE"


def cached_folder(folder: Path, fill: Callable[[Path], None], say: Callable[[str], None]) -> None:
    """Make sure that a folder of the cache is there and holds what was once written to it.

    Every byte is read and its CRC-32 compared, at about 2 GB/s of a core. That is less work than what comes
    before: to know its fingerprint, the text itself was read, decoded and hashed with SHA-256.

    Args:
        folder: the folder, named after everything that decides its content.
        fill: writes the files into the folder that it is given; called if there is none, or a damaged one.
        say: called with a line if the folder is damaged.

    Raises:
        InputError: the folder cannot be written or replaced, or the disk is full.
    """
    try:
        found = _identity(folder)
    except OSError:
        pass  # Where it cannot be looked for, it cannot be written: that is said below.
    else:
        problem = _problem(folder)
        if not problem:
            return
        say(f"{shown(str(folder))} is damaged ({problem}); it is made again from the text")
        _put_aside(folder, found)

    def fill_and_sum(path: Path) -> None:
        fill(path)
        sums = {file.name: _sum(file) for file in sorted(path.iterdir())}
        (path / SUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")

    write_folder(folder, fill_and_sum)


def _sum(path: Path) -> list[int]:
    """Return the size of a file and its CRC-32."""
    size = crc = 0
    with opened(path) as file:
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return [size, crc]


def _problem(folder: Path) -> str:
    """Return what is wrong with a folder of the cache, or an empty string."""
    name = SUMS
    try:
        sums = json.loads(bytes_of(folder / SUMS))
        for name, expected in sums.items():
            if _sum(folder / Path(name).name) != expected:
                return f"{name} has other content than was written"
        others = {path.name for path in folder.iterdir()} - {SUMS, *sums}
    except OSError as error:
        return f"{name}: {error.strerror}"
    except (ValueError, AttributeError, RecursionError):
        return f"{SUMS} has other content than was written"
    if others:
        return f"{min(others)} has no sum"
    return "" if sums else f"{SUMS} is empty"


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.lstat()
    return found.st_ino, found.st_mtime_ns  # The number alone may be used again.


def _put_aside(folder: Path, identity: tuple[int, int]) -> None:
    """Delete a damaged folder, unless another process has put a new one in its place."""
    aside = _new_name(folder.parent)
    try:
        if _identity(folder) == identity:
            folder.rename(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"cannot replace {shown(str(folder))}: {error.strerror}; delete it, or choose another folder with"
            " --cache_dir or LM_KERAS_CACHE"
        ) from None
    delete(aside)


def write_folder(folder: Path, fill: Callable[[Path], None], remedy: str = _OTHER_CACHE) -> None:
    """Make a folder that is there whole or not at all.

    Args:
        folder: where it goes. If somebody else makes the same folder first, theirs stays.
        fill: writes the files into the folder that it is given.
        remedy: what to do when that fails, in words.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = _new_name(folder.parent)
        temporary.mkdir()  # Not `mkdtemp`, which would keep out those who share the folder.
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
        path = str(error.filename or folder)
        raise InputError(
            f"cannot write {shown(str(folder) if _UNFINISHED in path else path)}: {error.strerror or error};"
            f" {remedy}"
        ) from None


def remove_folder(folder: Path) -> None:
    """Delete a folder so that it is there whole or not at all; also what is not a folder."""
    aside = _new_name(folder.parent)
    with contextlib.suppress(OSError):
        folder.rename(aside)
        delete(aside)


def delete(path: Path) -> None:
    """Delete a folder with all that is in it, or whatever else is there."""
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):
            path.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _new_name(parent: Path) -> Path:
    return parent / f"{_UNFINISHED}{secrets.token_hex(8)}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            newest = max(inner.stat().st_mtime for inner in [path, *path.iterdir()])
            if time.time() - newest > SWEEP_AFTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
