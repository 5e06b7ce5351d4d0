"""Paths that users give: `~` in them, how a flag and a shell read them, and how a library reads them
literally.
"""

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator

from lm_keras.errors import InputError

_DESCRIPTORS = "/proc/self/fd"
"""Where Linux shows the files that a process has open; macOS has no such folder."""


def expanded(path: str, flag: str = "") -> str:
    """Return a path with `~` or `~user` at its beginning replaced by that home folder.

    Args:
        path: as the user wrote it; a shell expands `~` only at the beginning of a word, and a flagfile never
            does.
        flag: name of its flag, for the message.

    Raises:
        InputError: the user is unknown or has no home folder.
    """
    if not path.startswith("~"):
        return path
    user = path[1:].partition("/")[0]
    found = os.path.expanduser(path)
    if found.startswith("~") or not (user or os.environ.get("HOME", "/")):
        why = f"user {user!r} is unknown" if user else "this user has no home folder, and HOME is not set"
        said = f"--{flag}={path}" if flag else path
        raise InputError(f"{said}: {why}; write ./{path} for a path that begins with ~, or the whole path")
    return found


def spelled(path: str | os.PathLike) -> str:
    """Return a path as a flag reads it: with ./ in front if its first character would mean something else.

    Example:
        >>> spelled("~old/run"), spelled("runs/first")
        ('./~old/run', 'runs/first')
    """
    text = os.fspath(path)
    return f"./{text}" if text.startswith(("~", "-")) else text


def quoted(text: str) -> str:
    r"""Return a text as one word of a shell's command line, on one line.

    Example:
        >>> print(quoted("two words"), quoted("two\nlines"))
        'two words' $'two\x0alines'
    """
    if text.isprintable():
        return shlex.quote(text)
    escapes = {"\\": "\\\\", "'": "\\'"}
    return "$'" + "".join(escapes.get(c, c) if c.isprintable() else _bytes(c) for c in text) + "'"


def _bytes(character: str) -> str:
    try:
        content = os.fsencode(character)
    except UnicodeEncodeError:  # Half of a pair, which no name of a file can have.
        content = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)


def as_word(path: str | os.PathLike) -> str:
    """Return a path for a command that is printed, so that pasting it into a shell gives that path."""
    return quoted(spelled(path))


@contextlib.contextmanager
def literally(folder: str | os.PathLike) -> Iterator[str]:
    r"""Open a folder, and yield another path to it that no library takes for a pattern.

    TensorFlow takes the path of a checkpoint for a glob when it reads: it finds nothing below a folder with
    `[`, `]` or `\` in its name, and may read the files of another folder where there is `*` or `?`. On Linux
    the path is that of the open folder, so whatever is read below it comes from one folder, even if another
    one is put in its place meanwhile.

    Raises:
        OSError: the folder is missing or cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        place = f"{_DESCRIPTORS}/{descriptor}"
        if os.path.isdir(place):
            yield place
        else:
            with tempfile.TemporaryDirectory(dir="/tmp") as temporary:  # $TMPDIR may be such a name itself.
                link = os.path.join(temporary, "folder")
                os.symlink(os.path.abspath(folder), link)
                yield link
    finally:
        os.close(descriptor)
