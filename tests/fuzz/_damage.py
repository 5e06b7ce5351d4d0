"""Random damage to the bytes of files, and to the values in JSON."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        st.integers(-(10**30), 10**30),
        st.sampled_from([0, 1, -1, 10**9, 10**15, 2**31, 2**63, 10**400, 1e308, "", "../../x", "none",
            "\x1b[31m", "\ud800", "a\nb"]),
        st.text(max_size=5),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=5,
)  # fmt: skip
"""Values of JSON that nobody expects."""

CONTENTS = {
    "nothing": b"", "a line feed": b"\n", "null": b"null", "an object": b"{}", "an array": b"[]",
    "a number": b"5",
    "a string": b'"x"', "half an object": b"{", "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a long number": b"1" * 5000, "NaN": b"NaN", "no UTF-8": b"\xff\xfe", "zeros": b"\0" * 100,
    "a step": b'{"step": 1}\n',
    "no step": b'{"step": NaN}\n', "a step of text": b'{"step": "4"}\n',
    "a huge step": b'{"step": 99999999999999999999}\n',
}  # fmt: skip
"""What may stand in a file in place of all that was there, by name, so that a case can be read."""

PLACES = 10_000
PLACE = st.integers(0, PLACES - 1)
"""Parts of a whole; hypothesis draws all whole numbers alike, unlike all fractions."""


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is done to one file.

    Attributes:
        which: place of the file in the order of names, of `PLACES`.
        how: `truncate`, `flip`, `insert`, `append`, `replace`, `json`, `delete`, `folder`, `pipe`, `link` or
            `swap`.
        where: place within the file, or of another file for `swap`, of `PLACES`.
        what: a bit for `flip`, bytes for `insert` and `append`, a key of `CONTENTS` for `replace`, a value
            for `json`, where it leads for `link`.
        files: pattern of the names of the files that are meant.
    """

    which: int
    how: str
    where: int
    what: Any = None
    files: str = "*"

    def do(self, folder: Path) -> None:
        """Do it to a file of a folder, if there is one."""
        paths = sorted(path for path in folder.rglob(self.files) if path.is_file())
        if not paths:
            return
        path = paths[self.which * len(paths) // PLACES]
        if self.how == "delete":
            path.unlink()
        elif self.how == "folder":
            path.unlink()
            path.mkdir()
        elif self.how == "pipe":
            path.unlink()
            os.mkfifo(path)
        elif self.how == "link":
            path.unlink()
            path.symlink_to(self.what)
        elif self.how == "swap":
            other = paths[self.where * len(paths) // PLACES]
            mine, its = path.read_bytes(), other.read_bytes()
            path.write_bytes(its)
            other.write_bytes(mine)
        else:
            path.write_bytes(self.changed(path.read_bytes()))

    def changed(self, content: bytes) -> bytes:
        """Return what the damage makes of the content of a file."""
        place = self.where * len(content) // PLACES
        before, after = content[:place], content[place:]
        if self.how == "truncate":
            return before
        if self.how == "flip":
            return before + bytes([after[0] ^ 1 << self.what]) + after[1:] if after else content
        if self.how == "insert":
            return before + self.what + after
        if self.how == "append":
            return content + self.what
        if self.how == "replace":
            return CONTENTS[self.what]
        return self._with_other_json(content)

    def _with_other_json(self, content: bytes) -> bytes:
        lines = content.split(b"\n") if content.count(b"\n{") > 1 else [content]
        number = self.where % len(lines)  # of a file with an object a line
        try:
            root = json.loads(lines[number])
        except (ValueError, RecursionError):
            return content
        places = list(_places(root))
        if not places:
            return content
        holder, key = places[self.where * len(places) // PLACES]
        holder[key] = self.what
        lines[number] = json.dumps(root, indent=None if len(lines) > 1 else 1).encode()
        return b"\n".join(lines)


def _places(value: Any):
    """Yield (dict or list, key or index) of everything in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def of_bytes(files: str = "*") -> st.SearchStrategy:
    """Draw a damage to the bytes of a file."""
    return st.one_of(
        _drawn(files, st.just("flip"), st.integers(0, 7)),
        _drawn(files, st.just("truncate"), st.none()),
        _drawn(files, st.sampled_from(["insert", "append"]), st.binary(min_size=1, max_size=20)),
        _drawn(files, st.just("replace"), st.sampled_from(list(CONTENTS))),
    )


def of_json(files: str = "*") -> st.SearchStrategy:
    """Draw another value somewhere in a JSON file, or in a line of one."""
    return _drawn(files, st.just("json"), JUNK)


def of_files(files: str = "*") -> st.SearchStrategy:
    """Draw a damage of any kind."""
    moved = [_drawn(files, st.just(how), st.none()) for how in ("delete", "folder", "pipe", "swap")]
    linked = _drawn(
        files, st.just("link"), st.sampled_from(["nowhere", "/dev/zero", "/dev/full", "..", "/etc/hostname"])
    )
    return st.one_of(of_bytes(files), of_json(files), linked, *moved)


def _drawn(files: str, how: st.SearchStrategy, what: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(Damage, PLACE, how, PLACE, what, st.just(files))


def copied(source: Path, target: Path) -> Path:
    """Put a fresh copy of a folder where an older one may be."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)
    return target
