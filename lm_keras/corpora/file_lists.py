"""From globs to a list of readable files."""

import glob
import os
import re

from lm_keras.errors import InputError, nearest

NOT_TEXT = re.compile(
    r"\.(zip|bz2|xz|zst|7z|tar|tgz|tar\.gz|parquet|arrow|npy|npz|pkl|pdf|docx|epub|h5|tfrecord)$",
    re.IGNORECASE,
)


def find_files(globs: str) -> list[str]:
    """Expand globs to files, sorted by path, each real file once.

    Args:
        globs: one or more paths or globs, separated by commas; `**` goes through folders.

    Raises:
        InputError: a path does not exist or is a folder, a glob matches no file, or a file cannot be read.

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
    files, seen = [], set()
    for path in found:
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            _check_readable(path)
            files.append(path)
    return files


def _expand(part: str) -> list[str]:
    if os.path.isdir(part):
        raise InputError(
            f"{part} is a folder: expected files; write {os.path.join(part, '*.txt')} "
            f"or {os.path.join(part, '**', '*.txt')}"
        )
    if os.path.exists(part):
        return [part]
    if not glob.has_magic(part):
        raise _missing(part)
    matches = glob.glob(part, recursive=True)
    files = [match for match in matches if not os.path.isdir(match)]
    if not files:
        folder = part
        while glob.has_magic(folder):
            folder = os.path.dirname(folder)
        whence = os.path.abspath(folder or ".")
        try:
            os.listdir(whence)
            reason = f"looked from the folder {whence}"
        except OSError as error:
            reason = f"the folder {whence} cannot be read ({error.strerror})"
        if matches:
            reason = f"only folders do, such as {matches[0]}; end the glob with a file, such as /*.txt"
        raise InputError(f"no file matches {part}: {reason}; expected at least one file")
    return files


def _missing(path: str) -> InputError:
    try:
        os.stat(path)
    except PermissionError:
        return _unreadable(path, "Permission denied")
    except OSError:
        pass
    folder = os.path.dirname(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        names = []
    hint = nearest(os.path.basename(path), names)
    return InputError(f"no file {path}{hint}: expected a file or glob, looked from the folder {os.getcwd()}")


def _unreadable(path: str, reason: str) -> InputError:
    return InputError(f"cannot read {path}: {reason}; expected a readable file, check its permissions")


def _check_readable(path: str) -> None:
    if not os.path.exists(path):
        raise _missing(path)  # a symbolic link to nowhere
    if not os.path.isfile(path):
        raise InputError(f"{path} is no regular file: expected a file that can be read more than once")
    if suffix := NOT_TEXT.search(path):
        raise InputError(
            f"{path}: a {suffix[0]} file is no text: expected .txt, .gz or .jsonl; unpack or convert it first"
        )
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
