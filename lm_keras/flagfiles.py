"""Flagfiles: settings as text with a flag a line, written and read.

absl would read them, but it ignores a file that includes itself, reads with the encoding of the locale, waits
for ever at a named pipe, and does not say in which file something was wrong.
"""

import contextlib
import json
import os
from typing import Any

from lm_keras import paths
from lm_keras.errors import InputError, shown


def flagfile_of(settings: dict[str, Any]) -> str:
    """Write settings as the text of a flagfile that gives them again.

    Example:
        >>> flagfile_of({"steps": 10, "tie_embeddings": False, "valid_corpus": None})
        '--steps=10\\n--notie_embeddings\\n--valid_corpus=\\n'
    """
    lines = []
    for name, value in settings.items():
        if isinstance(value, bool):
            lines.append(f"--{name}" if value else f"--no{name}")
        else:
            lines.append(f"--{name}={'' if value is None else value}")
    return "\n".join(lines) + "\n"


def with_flagfiles(argv: list[str]) -> list[str]:
    """Put the lines of flagfiles in the place of each `--flagfile` of a command line.

    Raises:
        InputError: a flagfile cannot be read, includes itself, or has a line that is not a flag.
    """
    words, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*words, word, *rest]
        if word in ("--flagfile", "-flagfile") and rest:
            word = f"{word}={rest.pop(0)}"
        name, equals, path = word.partition("=")
        if name in ("--flagfile", "-flagfile") and equals:
            words += _lines_of_flagfile(path, ())
        else:
            words.append(word)
    return words


def _lines_of_flagfile(path: str, includers: tuple[str, ...]) -> list[str]:
    """Return the flags of a flagfile and of those that it includes.

    Args:
        path: the file.
        includers: files that include it, the outermost first.
    """
    path = os.path.expanduser(path.strip())
    if not path:
        return []
    chain = (*includers, path)
    where = "".join(f", which {shown(name)} includes" for name in reversed(includers))
    if os.path.realpath(path) in map(os.path.realpath, includers):
        raise InputError(
            f"the flagfile {shown(path)} includes itself ({' > '.join(map(shown, chain))}); delete one of"
            " these --flagfile lines"
        )
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise OSError(None, "no regular file")
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise InputError(
            f"cannot read the flagfile {shown(path)}{where}: {error.strerror}; expected a text file with a"
            f" flag a line, looked from the folder {shown(os.getcwd())}"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"the flagfile {shown(path)}{where} is not UTF-8 (byte 0x{error.object[error.start]:02X} at byte "
            f"{error.start}); expected a text file with a flag a line"
        ) from None
    words = []
    lines = _in_its_place(path, list(map(str.strip, lines)))
    for number, line in enumerate(lines, start=1):
        name, _, value = line.partition("=")
        if not line or line.startswith(("#", "//")):
            continue
        if not line.startswith("-"):
            raise InputError(
                f"line {number} of the flagfile {shown(path)} is {line!r}; expected a flag, --name=value, or"
                " a comment after #"
            )
        words += _lines_of_flagfile(value, chain) if name in ("--flagfile", "-flagfile") else [line]
    return words


def _in_its_place(path: str, lines: list[str]) -> list[str]:
    """Let the flags.txt of a run say that the run is where that file is, for it may have been moved or
    copied.

    The run's folder, and its tokenizer, which an imported model names, are there as they were when the run
    was begun, and as they were called in the working directory of that time.
    """
    folder = os.path.dirname(path) or "."
    given = dict(line.partition("=")[::2] for line in lines)
    old = given.get("--run_dir")
    if not old or os.path.basename(path) != "flags.txt" or not _holds_run(folder):
        return lines
    with contextlib.suppress(OSError):
        if os.path.samefile(old, folder) and not old.startswith("~"):  # Older versions made such folders.
            return lines
    now = {f"--run_dir={old}": f"--run_dir={paths.spelled(folder)}"}
    tokenizer = given.get("--tokenizer", "")
    if os.path.normpath(tokenizer) == os.path.join(os.path.normpath(old), "tokenizer"):
        now[f"--tokenizer={tokenizer}"] = f"--tokenizer={paths.spelled(os.path.join(folder, 'tokenizer'))}"
    return [now.get(line, line) for line in lines]


def _holds_run(folder: str) -> bool:
    """Tell whether a run was begun in a folder; other projects have files of the same names."""
    config, data = (os.path.join(folder, name) for name in ("config.json", "data.json"))
    try:
        if not (os.path.isfile(config) and os.path.isfile(data)):
            return False
        with open(data, encoding="utf-8") as file:
            return {"splits", "total_steps"} <= set(json.load(file))
    except (OSError, ValueError, TypeError, RecursionError):
        return False
