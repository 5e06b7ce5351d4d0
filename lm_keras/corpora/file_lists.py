"""From globs to a list of readable files."""

import collections
import difflib
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
ENDING = re.compile(
    r"\.(txt|text|md|jsonl|ndjson|json)(\.gz)?$|\.gz$", re.IGNORECASE
)  # of files that are read
MAX_HINTS = 10_000  # names among which a misspelt one is looked for


def find_files(globs: str, scheme: str = "text") -> list[str]:
    """Expand globs to files, sorted by path, each real file once.

    Args:
        globs: one or more paths or globs, separated by commas. `**` goes through folders, symbolic links to
            folders included, into each real folder once. As in a shell, `*` matches no hidden name, and a
            name that exists as it is written is no glob.
        scheme: the part before the colon, for messages.

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
        ending = "txt" if scheme == "text" else scheme
        raise InputError(
            f"the corpus {scheme}: names no file: expected {scheme}:GLOB, such as {scheme}:data/*.{ending}"
        )
    found = sorted({path for part in parts for path in _expand(os.path.expanduser(part))})
    files, seen, real_folders = [], set(), {}
    for path in found:
        real = _real(path, real_folders)
        if real not in seen:
            seen.add(real)
            _check_readable(path)
            files.append(path)
    return files


def path_hint(spec: str, rest: str) -> str:
    """Return `" (did you mean 'text:PATH'?)"` for a corpus without its scheme, or with another one; else an
    empty string.

    Args:
        spec: what was given.
        rest: what follows its first colon.
    """
    for path in (spec, rest):
        known = os.path.expanduser(path.strip())
        if not known:
            continue
        if os.path.isdir(known):
            path = _globs_in(path.strip())[0]
        elif not os.path.exists(known) and not glob.has_magic(known) and not _exist(known.split(",")):
            near = _near(known)
            if not near:
                continue
            path = near
        return f" (did you mean {'text:' + path!r}?)"
    return ""


def _exist(parts: list[str]) -> bool:
    return len(parts) > 1 and any(os.path.exists(os.path.expanduser(part.strip())) for part in parts)


def _near(path: str) -> str | None:
    """Return the path of a file like one that is not there, if it has an ending or lies in another folder."""
    folder, name = os.path.split(path)
    if not folder and "." not in name:
        return None
    close = difflib.get_close_matches(name, _names_in(folder), n=1, cutoff=0.6)
    return os.path.join(folder, close[0]) if close else None


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or "."))[:MAX_HINTS]
    except OSError:
        return []


def _globs_in(folder: str) -> tuple[str, str]:
    """Return globs for the files of a folder, and of those below it, too, by the ending that most of them
    have.
    """
    endings = collections.Counter(
        found[0] for name in _names_in(os.path.expanduser(folder)) if (found := ENDING.search(name))
    )
    ending = endings.most_common(1)[0][0] if endings else ".txt"
    return os.path.join(folder, f"*{ending}"), os.path.join(folder, "**", f"*{ending}")


def _real(path: str, real_folders: dict[str, str]) -> str:
    """Return the path without symbolic links; each folder is resolved once, because that is slow."""
    folder, name = os.path.split(path)
    if folder not in real_folders:
        real_folders[folder] = os.path.realpath(folder)
    path = os.path.join(real_folders[folder], name)
    return os.path.realpath(path) if os.path.islink(path) else path


def _expand(part: str) -> list[str]:
    if os.path.isdir(part):
        files, below = map(shown, _globs_in(part))
        raise InputError(f"{shown(part)} is a folder: expected files; write {files} or {below}")
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
        reason = f"the folder {shown(whence)} is missing"
    elif "[" in part:
        reason += ", where [...] stands for one of the characters in it; write [[] for a bracket"
    elif there := _names_in(whence):
        # Of a glob that goes through folders only the last part is compared.
        files = [name for name in there if os.path.isfile(os.path.join(whence, name))]
        close = difflib.get_close_matches(os.path.basename(part), files, n=3, cutoff=0.3)
        first = close or files[:3]
        if first:
            reason += (
                f", which has {', '.join(map(shown, first))}{', ...' if len(files) > len(first) else ''}"
            )
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
            f"{shown(path)} is a symbolic link to {shown(os.readlink(path))}, which does not exist: expected"
            " a link to a file; mend or delete the link"
        )
    hint = nearest(os.path.basename(path), _names_in(os.path.dirname(path)), cutoff=0.6)
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
        raise InputError(
            f"{shown(path)} is not a regular file: expected a file that can be read more than once"
        )
    if suffix := NOT_TEXT.search(path):
        raise InputError(
            f"{shown(path)}: a {suffix[0]} file is not text: expected .txt, .gz or .jsonl; "
            "unpack or convert it first"
        )
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise _unreadable(path, error) from None
