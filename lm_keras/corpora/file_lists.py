"""From globs to a list of readable files."""

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator

from lm_keras.errors import InputError, nearest, shown

NOT_TEXT = re.compile(
    r"\.(zip|bz2|xz|zst|7z|tar|tgz|tar\.gz|parquet|arrow|npy|npz|pkl|pdf|docx|epub|h5|tfrecord)$",
    re.IGNORECASE,
)
MAX_HINTS = 10_000  # names among which a misspelt one is looked for


def find_files(globs: str) -> list[str]:
    """Expand globs to files, sorted by path, each real file once.

    Args:
        globs: one or more paths or globs, separated by commas. `**` goes through folders, symbolic links to
            folders included, into each real folder once. As in a shell, `*` matches no hidden name, and a
            name that exists as it is written is no glob.

    Raises:
        InputError: a path does not exist or is a folder, a glob matches no file, a file cannot be read, or a
            folder on the way cannot be listed.

    Example:
        >>> find_files("data/*.txt,data/more/**/*.gz")
        ['data/a.txt', 'data/b.txt', 'data/more/deep/c.gz']
    """
    if os.path.isfile(globs):  # a name with a comma or a bracket in it
        parts = [globs]
    else:
        parts = [part.strip() for part in globs.split(",") if part.strip()]
    if not parts:
        raise InputError("the corpus text: names no file: expected text:GLOB, such as text:data/*.txt")
    found = sorted({path for part in parts for path in _expand(os.path.expanduser(part))})
    files, seen, real_folders = [], set(), {}
    for path in found:
        real = _real(path, real_folders)
        if real not in seen:
            seen.add(real)
            _check_readable(path)
            files.append(path)
    return files


def _real(path: str, real_folders: dict[str, str]) -> str:
    """Return the path without symbolic links; each folder is resolved once, because that is slow."""
    folder, name = os.path.split(path)
    if folder not in real_folders:
        real_folders[folder] = os.path.realpath(folder)
    path = os.path.join(real_folders[folder], name)
    return os.path.realpath(path) if os.path.islink(path) else path


def _expand(part: str) -> list[str]:
    if os.path.isdir(part):
        raise InputError(
            f"{shown(part)} is a folder: expected files; write {shown(os.path.join(part, '*.txt'))} "
            f"or {shown(os.path.join(part, '**', '*.txt'))}"
        )
    if os.path.exists(part):
        return [part]
    if not glob.has_magic(part):
        raise _missing(part)
    root = os.sep if part.startswith(os.sep) else ""
    matches = list(_matches(root, [name for name in part.split(os.sep) if name]))
    files = [match for match in matches if not os.path.isdir(match)]
    if not files:
        raise _no_match(part, matches)
    return files


def _matches(folder: str, names: list[str]) -> Iterator[str]:
    """Yield what the parts of a glob, split at slashes, match below a folder."""
    name, *rest = names
    if name == "**":
        for inner in _all_folders(folder):
            yield from _matches(inner, rest or ["*"])
    elif not glob.has_magic(name):
        path = os.path.join(folder, name)
        if rest and os.path.isdir(path):
            yield from _matches(path, rest)
        elif not rest and os.path.lexists(path):
            yield path
    else:
        for entry in _entries(folder, hidden=name.startswith(".")):
            if fnmatch.fnmatchcase(entry.name, name):
                path = os.path.join(folder, entry.name)
                if not rest:
                    yield path
                elif _is_folder(entry):
                    yield from _matches(path, rest)


def _all_folders(folder: str) -> Iterator[str]:
    """Yield a folder and all below it, each real one once, so that a loop of links comes to an end."""
    seen, waiting = set(), [folder]
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path
            inner = [entry.name for entry in _entries(path, hidden=False) if _is_folder(entry)]
            waiting += [os.path.join(path, name) for name in reversed(inner)]


def _entries(folder: str, hidden: bool) -> list[os.DirEntry]:
    try:
        with os.scandir(folder or ".") as found:
            entries = [entry for entry in found if hidden or not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"cannot list the folder {shown(folder or os.getcwd())}: {error.strerror}; expected a readable "
            "folder, check its permissions or write a glob that leaves it out"
        ) from None
    return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _no_match(part: str, matches: list[str]) -> InputError:
    folder = part
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    whence = os.path.abspath(folder or ".")
    reason = f"looked from the folder {shown(whence)}"
    if matches:
        reason = f"only folders do, such as {shown(matches[0])}; end the glob with a file, such as /*.txt"
    elif not os.path.isdir(whence):
        reason = f"there is no folder {shown(whence)}"
    elif "[" in part:
        reason += ", where [...] stands for one of the characters in it; write [[] for a bracket"
    return InputError(f"no file matches {shown(part)}: {reason}; expected at least one file")


def _missing(path: str) -> InputError:
    """Return the error for a path that cannot be followed to a file."""
    try:
        os.stat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return _unreadable(path, error)
    if os.path.islink(path):
        return InputError(
            f"{shown(path)} is a symbolic link to {shown(os.readlink(path))}, which does not exist: expected a "
            "link to a file; mend or delete the link"
        )
    try:
        names = os.listdir(os.path.dirname(path) or ".")[:MAX_HINTS]
    except OSError:
        names = []
    hint = nearest(os.path.basename(path), names)
    return InputError(
        f"no file {shown(path)}{hint}: expected a file or glob, looked from the folder {shown(os.getcwd())}"
    )


def _unreadable(path: str, error: OSError) -> InputError:
    remedy = "expected a readable file, check its permissions"
    if not isinstance(error, PermissionError):
        remedy = "expected a readable file"
    return InputError(f"cannot read {shown(path)}: {error.strerror or error}; {remedy}")


def _check_readable(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        raise _missing(path) from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(path)} is no regular file: expected a file that can be read more than once")
    if suffix := NOT_TEXT.search(path):
        raise InputError(
            f"{shown(path)}: a {suffix[0]} file is no text: expected .txt, .gz or .jsonl; "
            "unpack or convert it first"
        )
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise _unreadable(path, error) from None
