"""What a page says of runs that answer in conversations: scores, baselines and answers."""

import itertools
import json
from pathlib import Path
from typing import Any

from lm_keras.report.labels import beside_baselines, of_best, texts_table
from lm_keras.report.pairs import SHOWN, lines_of, short
from lm_keras.report.runs import RunRecord
from lm_keras.report.tables import escaped, row_of, table_of

MOST_LINES = 10_000
"""Answers of a split that are looked at, the first ones."""

_HEAD = ("place", "question", "what is said there", "answer")


def sections(runs: list[RunRecord]) -> list[str]:
    """Return the part of a page on answers; nothing where no run generates any."""
    parts = [part for run in runs for part in _of_run(run)]
    return ["<h2>Answers</h2>", *parts] if parts else []


def _of_run(run: RunRecord) -> list[str]:
    splits = {
        split: values
        for split, values in run.scores().items()
        if "shuffled_questions" in values.get("baselines", {})
    }
    if not splits:
        return []
    parts = [f"<h3>{escaped(run.name)}</h3>", *texts_table((run.results or {}).get("texts", {}))]
    for split, values in splits.items():
        parts += [f"<h4>{escaped(split)}</h4>", beside_baselines(values, of_best(run, split))]
        told = values.get("decoded") or "no answers were generated"
        parts += [f"<p class='quiet'>{escaped(told)}</p>"]
        parts += _side_by_side(run.path / "predictions" / f"{split}.jsonl", split)
    return parts


def _side_by_side(path: Path, split: str) -> list[str]:
    """Show conversations with what is said there and the answer: evenly spaced ones, and those that the
    network did not end.
    """
    try:
        found = list(itertools.islice(lines_of(path, _answer), MOST_LINES))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"<p class='note'>{escaped(path.name)} cannot be read ({escaped(error.strerror)})</p>"]
    lines = [line for line in found if line]
    shown, damaged = [], len(found) - len(lines)
    if damaged:
        note = f"{path.name}: {damaged:,} of its lines cannot be read and are left out"
        shown.append(f"<p class='note'>{escaped(note)}</p>")
    if not lines:
        return shown
    even = [lines[n] for n in sorted({round(n * (len(lines) - 1) / (SHOWN - 1)) for n in range(SHOWN)})]
    endless = [line for line in lines if not line["ended"]][:SHOWN]
    for chosen, what, how in ((even, "evenly spaced", " open"), (endless, "that do not end", "")):
        if chosen:
            table = table_of(_HEAD, map(_row, chosen))
            told = f"{len(chosen)} answers of {split}, {what}"
            shown.append(f"<details{how}><summary>{escaped(told)}</summary>{table}</details>")
    return shown


def _row(line: dict[str, Any]) -> str:
    before = "\n".join(f"{message['role']}: {message['content']}" for message in line["messages"])
    return row_of([line.get("place"), *map(short, (before, line["reference"], line["output"]))])


def _answer(line: bytes) -> dict[str, Any] | None:
    """Return a line of predictions, or None if it is none."""
    try:
        found = json.loads(line)
        texts = [found["reference"], found["output"]]
        texts += [message[name] for message in found["messages"] for name in ("role", "content")]
        whole = all(isinstance(text, str) for text in texts) and isinstance(found["ended"], bool)
        return found if whole else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
