"""Tables of a page as HTML, whatever their cells hold."""

import html
from collections.abc import Iterable
from typing import Any


def escaped(value: Any) -> str:
    """Return a value as text that HTML shows as it is; a dash for None."""
    return html.escape("–" if value is None else str(value))


def table_of(head: Iterable[str], rows: Iterable[str]) -> str:
    """Join cells of a head, as text, and rows, as HTML."""
    cells = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    body = "\n".join(rows)
    return f"<div class='wide'><table><tr>{cells}</tr>\n{body}</table></div>"


def row_of(cells: Iterable[Any], kind: str = "") -> str:
    """Return a row of cells; numbers that are written already stay as they are.

    Args:
        cells: as text.
        kind: its class in the style sheet.
    """
    mark = f" class='{kind}'" if kind else ""
    return f"<tr{mark}>" + "".join(f"<td>{escaped(cell)}</td>" for cell in cells) + "</tr>"
