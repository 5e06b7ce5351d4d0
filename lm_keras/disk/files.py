"""Files that are written whole or not at all, and read with distrust."""

import codecs
import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lm_keras.errors import InputError

MAX_FILE_BYTES = 256 * 2**20


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that every reader sees either the old content or the new one, whole.

    Raises:
        InputError: the folder or file cannot be written.
    """
    with writing_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing_atomically(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Open a file to write, which takes the place of `path` at the end; where something fails it is deleted.

    Raises:
        InputError: the folder or file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free space there or choose a folder that can be"
            " written"
        ) from None


def opened(path: str | os.PathLike, mode: str = "rb") -> IO:
    """Open a file; what would never end, as a named pipe or a device, is none.

    Args:
        path: the file.
        mode: `rb` to read it, or `a` to write at its end, where it may be missing and may not be a link to
            another file.

    Raises:
        OSError: it cannot be opened or is not a regular file; `strerror` says so.
    """
    flags = os.O_RDONLY if mode == "rb" else os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)  # Else a pipe would wait for the other side.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "no regular file", os.fspath(path))
    return open(descriptor, mode)


def bytes_of(path: str | os.PathLike, most: int | None = None) -> bytes:
    """Read a regular file of at most `limit` bytes, `MAX_FILE_BYTES` if nothing is said.

    Raises:
        OSError: as `opened`, or it is larger.
    """
    most = MAX_FILE_BYTES if most is None else most
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(None, f"more than {most:,} bytes", os.fspath(path))
    return content


def without_mark(content: bytes) -> bytes:
    """Return the beginning of a text in UTF-8 without the byte order mark that programs of Windows
    put there.
    """
    return content.removeprefix(codecs.BOM_UTF8)
