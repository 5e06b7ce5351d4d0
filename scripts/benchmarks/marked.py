"""Tables of a Markdown page that programs write, each between two marks."""

import re
from pathlib import Path

from lm_keras.disk.files import write_atomically
from lm_keras.errors import InputError


def check(path: str, mark: str) -> None:
    """Raise InputError if a page has no marks to write between; see `write`."""
    page = Path(path)
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    for line in _marks(mark):
        if line not in text:
            raise InputError(f"--page={path} has no line {line}; expected a page with both marks")


def write(path: str, mark: str, text: str) -> None:
    """Put a text into a page, in place of what is between `<!-- MARK -->` and `<!-- end of MARK -->`.

    Args:
        path: of the page.
        mark: what the table is, and who writes it.
        text: the new content.

    Raises:
        InputError: the page has no such marks.
    """
    check(path, mark)
    begin, end = _marks(mark)
    page, inside = Path(path).read_text(encoding="utf-8"), f"{begin}\n\n{text}\n\n{end}"
    page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: inside, page, flags=re.DOTALL)
    write_atomically(path, page.encode())


def _marks(mark: str) -> tuple[str, str]:
    return f"<!-- {mark} -->", f"<!-- end of {mark} -->"


def table(rows: list[dict]) -> str:
    """Return rows as a Markdown table; the keys of the first one are its head.

    Example:
        >>> table([{"a": 1, "b": 2}])
        '| a | b |\\n|---|---|\\n| 1 | 2 |'
    """
    lines = [" | ".join(rows[0]), *(" | ".join(map(str, row.values())) for row in rows)]
    head, *body = (f"| {line} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
