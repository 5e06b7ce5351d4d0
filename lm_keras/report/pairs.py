"""What a page says of runs of pairs: scores, also by length, texts side by side, and attention.

T tokens of a target, S tokens of a source.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lm_keras.disk.files import opened
from lm_keras.report.labels import beside_baselines, of_best, texts_table
from lm_keras.report.runs import RunRecord, is_number
from lm_keras.report.tables import escaped, row_of, table_of

SHOWN = 12
"""Pairs of a split that are shown evenly spaced, and as many of those with the lowest chrF."""

LONGEST_TEXT = 600
"""Characters of a text that are shown."""

LONGEST_LINE = 2**24
"""Bytes of a line of predictions, at most."""

MOST_PICTURED = 60
"""Tokens of a side of a picture of attention, at most."""

_HEAD = ("place", "source", "reference", "output", "chrF")

_CELL = 16
"""Width and height of a cell of a picture of attention, in pixels."""


def sections(runs: list[RunRecord]) -> list[str]:
    """Return the part of a page on generated targets; nothing where no run generates any."""
    parts = [part for run in runs for part in _of_run(run)]
    return ["<h2>Targets</h2>", *parts] if parts else []


def _of_run(run: RunRecord) -> list[str]:
    splits = {split: values for split, values in run.scores().items() if "by_length" in values}
    if not splits:
        return []
    parts = [f"<h3>{escaped(run.name)}</h3>", *texts_table((run.results or {}).get("texts", {}))]
    for split, values in splits.items():
        told = [values.get(name) for name in ("decoded", "signature", "rouge_settings")]
        parts += [f"<h4>{escaped(split)}</h4>", beside_baselines(values, of_best(run, split))]
        parts += [f"<p class='quiet'>{escaped('; '.join(filter(None, told)))}</p>", _by_length(values)]
        parts += _side_by_side(run.path / "predictions" / f"{split}.jsonl", split)
    return [*parts, *_attention(run.path / "predictions" / "attention.jsonl")]


def _by_length(values: dict[str, Any]) -> str:
    """Show the scores of groups of pairs by the length of their sources."""
    rows = []
    for group in values["by_length"]:
        words = f"{group['fewest']} to {group['most']}"
        scores = [f"{group[name]:.1f}" for name in ("bleu", "chrf", "rougeL")]
        rows.append(row_of([words, f"{group['pairs']:,}", *scores, f"{group['length']:.2f}"]))
    head = ["words of the source", "pairs", "BLEU", "chrF", "ROUGE-L", "length / reference"]
    return table_of(head, rows)


def _side_by_side(path: Path, split: str) -> list[str]:
    """Show sources, references and outputs: evenly spaced ones, and those with the lowest chrF."""
    costs, note = _counted(path)
    shown = [f"<p class='note'>{escaped(note)}</p>"] if note else []
    if not costs:
        return shown
    numbers = [number for _, number in costs]
    even = sorted({numbers[round(n * (len(numbers) - 1) / (SHOWN - 1))] for n in range(SHOWN)})
    worst = [number for _, number in sorted(costs)[:SHOWN]]
    lines = {number: line for number, line in enumerate(lines_of(path)) if number in {*even, *worst}}
    for chosen, what, how in ((even, "evenly spaced", " open"), (worst, "with the lowest chrF", "")):
        table = table_of(_HEAD, [_row(lines[number]) for number in chosen])
        told = f"{len(chosen)} pairs of {split}, {what}"
        shown.append(f"<details{how}><summary>{escaped(told)}</summary>{table}</details>")
    return shown


def _row(line: dict[str, Any]) -> str:
    texts = [short(text) for text in (line["source"], line["references"][0], line["output"])]
    return row_of([line.get("place"), *texts, f"{line['chrf']:.1f}"])


def short(whole: str) -> str:
    """Return the beginning of a text that is too long to be shown."""
    return whole if len(whole) <= LONGEST_TEXT else f"{whole[: LONGEST_TEXT - 1]}…"


def _counted(path: Path) -> tuple[list[tuple[float, int]], str]:
    """Return the chrF of each line of predictions with its number, and a note where some cannot be read."""
    costs, damaged = [], 0
    try:
        for number, line in enumerate(lines_of(path)):
            if line is None:
                damaged += 1
            else:
                costs.append((line["chrf"], number))
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], f"{path.name} cannot be read ({error.strerror}) and is left out"
    return costs, f"{path.name}: {damaged:,} of its lines cannot be read and are left out" if damaged else ""


def lines_of(
    path: Path, read: Callable[[bytes], dict | None] | None = None
) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a file as objects, and None for one that is none.

    Args:
        path: the file.
        read: makes an object of a line; None for one of pairs.
    """
    with opened(path) as file:
        for line in iter(lambda: file.readline(LONGEST_LINE), b""):
            yield (read or _pair)(line)


def _pair(line: bytes) -> dict[str, Any] | None:
    """Return a line of predictions, or None if it is none."""
    try:
        found = json.loads(line)
        texts = [found["source"], found["output"], *found["references"][:1]]
        is_pair = len(texts) == 3 and all(isinstance(text, str) for text in texts)
        return found if is_pair and is_number(found["chrf"]) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _attention(path: Path) -> list[str]:
    """Draw which tokens of the source each token of the output looks at."""
    try:
        found = [line for line in itertools.islice(lines_of(path, _weights), SHOWN) if line]
    except OSError:
        return []
    if not found:
        return []
    what = "Attention of the decoder: a row for each token of the output, a column for each of the source"
    pictures = "".join(f"<figure>{_picture(line)}</figure>" for line in found)
    return [f"<h4>Attention</h4><p class='quiet'>{what}</p><div class='plots'>{pictures}</div>"]


def _weights(line: bytes) -> dict[str, Any] | None:
    """Return a line with the attention of a pair, or None if it is none."""
    try:
        found = json.loads(line)
        sides = found["source"], found["output"]
        whole = all(isinstance(token, str) for side in sides for token in side)
        rows = found["weights"]
        fits = len(rows) == len(sides[1]) and all(len(row) == len(sides[0]) for row in rows)
        return found if whole and fits and all(is_number(one) for row in rows for one in row) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _picture(line: dict[str, Any]) -> str:
    """Return the attention of a pair as an SVG element; the darker a cell, the larger its weight."""
    source, output = line["source"][:MOST_PICTURED], line["output"][:MOST_PICTURED]
    left, top = (8 + 7 * max(map(len, side), default=0) for side in (output, source))
    width, height = left + _CELL * len(source) + 8, top + _CELL * len(output) + 8
    cells = []
    for row, (token, weights) in enumerate(zip(output, line["weights"])):
        y = top + _CELL * row
        cells.append(f"<text x='{left - 4}' y='{y + 12}' text-anchor='end'>{escaped(token)}</text>")
        for column, weight in enumerate(weights[: len(source)]):
            shade = min(1.0, max(0.0, weight))
            if shade < 0.005:
                continue
            told = f"{token} – {source[column]}: {weight:.2f}"
            cells.append(
                f"<rect x='{left + _CELL * column}' y='{y}' width='{_CELL}' height='{_CELL}' fill='#1f77b4'"
                f" fill-opacity='{shade:.2f}'><title>{escaped(told)}</title></rect>"
            )
    for column, token in enumerate(source):
        x = left + _CELL * column + 12
        cells.append(f"<text transform='translate({x},{top - 4}) rotate(-90)'>{escaped(token)}</text>")
    label = escaped(f"Attention to {' '.join(source)}")
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='{label}'"
        f" style='max-width: {width}px; font: 11px monospace'>{''.join(cells)}</svg>"
    )
