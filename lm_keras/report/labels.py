"""What a page says of runs that predict labels: scores by class, confusions, calibration, worst examples."""

import heapq
import itertools
import json
from pathlib import Path
from typing import Any

from lm_keras.disk.files import opened
from lm_keras.objectives.measures import MEASURES, columns_of
from lm_keras.report.runs import RunRecord, is_number
from lm_keras.report.tables import escaped, table_of

WORST = 20
"""Examples of a split that are shown: those whose labels have the lowest probability."""

LONGEST_TEXT = 600
"""Characters of an example that are shown."""

LONGEST_LINE = 2**24
"""Bytes of a line of predictions, at most."""

_SIDE = 180
"""Width and height of a reliability diagram, in pixels."""


def sections(runs: list[RunRecord]) -> list[str]:
    """Return the part of a page on labels; nothing where no run predicts any."""
    parts = [part for run in runs for part in _of_run(run)]
    return ["<h2>Labels</h2>", *parts] if parts else []


def _of_run(run: RunRecord) -> list[str]:
    splits = {split: values for split, values in run.scores().items() if values.get("scores")}
    if not splits:
        return []
    parts = [f"<h3>{escaped(run.name)}</h3>", *texts_table((run.results or {}).get("texts", {}))]
    for split, values in splits.items():
        scores = values["scores"]
        own = of_best(run, split)
        parts += [f"<h4>{escaped(split)}</h4>", beside_baselines(values, own), _by_class(scores)]
        parts += [_intervals(scores), f"<div class='plots'>{_confusion(scores)}{_reliability(scores)}</div>"]
        parts += _worst(run, split)
    return parts


def of_best(run: RunRecord, split: str) -> dict[str, dict[str, Any]]:
    """Return the measures of the best weights on a split, if they are not the last ones, under their name."""
    best = (run.results or {}).get("best", {"splits": {}})
    return {f"best step {best['step']:,}": best["splits"][split]} if split in best["splits"] else {}


def beside_baselines(values: dict[str, Any], best: dict[str, dict[str, Any]]) -> str:
    """Show the measures of a network, of its best weights, and of the baselines as a table."""
    compared = {"this run": values, **best, **values.get("baselines", {})}
    columns = columns_of([values])
    rows = [
        _numbers([name.replace("_", " ")], [_measure(column, own.get(column)) for column in columns])
        for name, own in compared.items()
    ]
    return table_of(["", *[MEASURES[column].head for column in columns]], rows)


def _measure(name: str, value: Any) -> str:
    return MEASURES[name].shown(value) if is_number(value) else "–"


def _by_class(scores: dict[str, Any]) -> str:
    """Show precision, recall, F1 and support of each class, or of each type of spans."""
    rows = []
    for name, values in (scores.get("by_type") or scores.get("by_class") or {}).items():
        ratios = [f"{values[field]:.3f}" for field in ("precision", "recall", "f1")]
        rows.append(_numbers([name], [*ratios, f"{values['support']:,}"]))
    what = "type of span" if scores.get("by_type") else "class"
    return table_of([what, "precision", "recall", "F1", "support"], rows)


def _intervals(scores: dict[str, Any]) -> str:
    ends = {name: both for name, both in scores.get("intervals", {}).items() if len(both) == 2}
    shown = [f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in ends.items()]
    return f"<p class='quiet'>95 % intervals: {escaped('; '.join(shown))}</p>" if shown else ""


def _confusion(scores: dict[str, Any]) -> str:
    """Show the confusion matrix; the darker a cell, the larger its share of the true class."""
    found = scores.get("confusion")
    if not found:
        return ""
    rows = []
    for name, counts in zip(found["names"], found["counts"]):
        total = max(1, sum(counts))
        cells = "".join(
            f"<td class='n' style='background: rgba(31, 119, 180, {0.8 * count / total:.2f})'>{count:,}</td>"
            for count in counts
        )
        rows.append(f"<tr><th>{escaped(name)}</th>{cells}</tr>")
    caption = "Confusion: a row for each true class, a column for each predicted one"
    return f"<figure><figcaption>{caption}</figcaption>{table_of(['', *found['names']], rows)}</figure>"


def _reliability(scores: dict[str, Any]) -> str:
    """Draw the accuracy of predictions against their confidence."""
    found = scores.get("calibration", {})
    error = found.get("expected_calibration_error")
    if not found.get("bins") or not is_number(error):
        return ""
    bars = []
    for one in found["bins"]:
        left, width, height = (
            _SIDE * size for size in (one["low"], one["high"] - one["low"], one["accuracy"])
        )
        shares = f"confidence {one['confidence']:.3f}, accuracy {one['accuracy']:.3f}"
        told = f"{one['count']:,} predictions, {shares}"
        bars.append(
            f"<rect x='{left:.1f}' y='{_SIDE - height:.1f}' width='{width:.1f}' height='{height:.1f}'"
            f" fill='#1f77b4' stroke='white'><title>{escaped(told)}</title></rect>"
        )
    svg = (
        f"<svg viewBox='0 0 {_SIDE} {_SIDE}' role='img' aria-label='Reliability' style='max-width: 20em'>"
        f"<rect width='{_SIDE}' height='{_SIDE}' fill='none' stroke='#888'/>{''.join(bars)}"
        f"<line x1='0' y1='{_SIDE}' x2='{_SIDE}' y2='0' stroke='#d62728'/></svg>"
    )
    told = f"Reliability: accuracy by confidence. Expected calibration error {error:.3f}"
    after = found.get("expected_calibration_error_at_temperature")
    if is_number(after) and is_number(scores.get("temperature")):
        told += f"; {after:.3f} at temperature {scores['temperature']:.2f}"
    return f"<figure><figcaption>{escaped(told)}</figcaption>{svg}</figure>"


def _worst(run: RunRecord, split: str) -> list[str]:
    examples, note = worst_examples(run.path / "predictions" / f"{split}.jsonl")
    shown = [f"<p class='note'>{escaped(note)}</p>"] if note else []
    if not examples:
        return shown
    rows = []
    for one in examples:
        if "words" in one:
            told, true, predicted = _tagged(one), None, None
        else:
            told, true, predicted = escaped(_short(one["text"])), one.get("label"), one.get("predicted")
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in (true, predicted, f"{one['nats']:.2f}"))
        rows.append(f"<tr><td>{escaped(one.get('source'))}</td><td>{told}</td>{cells}</tr>")
    head = ["source", "text", "true", "predicted", "nats"]
    what = f"the {len(rows)} examples of {split} whose true labels have the lowest probability"
    return [*shown, f"<details><summary>{escaped(what)}</summary>{table_of(head, rows)}</details>"]


def _tagged(example: dict[str, Any]) -> str:
    """Return the words of an example as HTML; a word with a wrong tag says the predicted and the true one."""
    parts = []
    for word, true, predicted in zip(example["words"], example["tags"], example["predicted"]):
        if true == predicted:
            parts.append(escaped(word) if true == "O" else f"<b>{escaped(word)}</b>")
        else:
            wrong = f"[{escaped(predicted)}, not {escaped(true)}]"
            parts.append(f"<b>{escaped(word)}</b> <span class='note'>{wrong}</span>")
    return " ".join(parts)


def _short(whole: str) -> str:
    return whole if len(whole) <= LONGEST_TEXT else f"{whole[: LONGEST_TEXT - 1]}…"


def worst_examples(path: Path, most: int = WORST) -> tuple[list[dict[str, Any]], str]:
    """Return the examples of a file of predictions whose labels have the lowest probability, the worst first.

    Args:
        path: of the file; without it there are none.
        most: examples, at most.

    Returns:
        The lines, and a note where some of them, or the file, cannot be read.
    """
    kept: list[tuple[float, int, dict]] = []
    damaged, number = 0, itertools.count()
    try:
        with opened(path) as file:
            for line in iter(lambda: file.readline(LONGEST_LINE), b""):
                example = _example(line)
                if example is None:
                    damaged += 1
                else:
                    heapq.heappush(kept, (example["nats"], -next(number), example))
                    if len(kept) > most:
                        heapq.heappop(kept)
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], f"{path.name} cannot be read ({error.strerror}) and is left out"
    note = f"{path.name}: {damaged:,} of its lines cannot be read and are left out" if damaged else ""
    return [example for *_, example in sorted(kept, reverse=True)], note


def _example(line: bytes) -> dict[str, Any] | None:
    """Return a line of predictions, or None if it is none."""
    try:
        found = json.loads(line)
        lists = [found[name] for name in ("words", "tags", "predicted")] if "words" in found else []
        is_text = isinstance(found.get("text"), str) or (
            lists and all(isinstance(one, list) for one in lists)
        )
        return found if is_text and is_number(found["nats"]) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def texts_table(splits: dict[str, Any]) -> list[str]:
    """Show how long the examples of each split are, and how often each label comes."""
    if not splits:
        return []
    fields = ("examples", "shortest", "median", "percentile_95", "longest", "too_long")
    rows = [
        _numbers([split], [_count(values.get(field)) for field in fields] + [_share(values.get("padding"))])
        for split, values in splits.items()
    ]
    head = ["split", "examples", "shortest", "median", "95 %", "longest", "too long", "padding"]
    names = dict.fromkeys(name for values in splits.values() for name in values.get("labels", {}))
    totals = {split: max(1, sum(values.get("labels", {}).values())) for split, values in splits.items()}
    labels = [
        _numbers([name], [_of_split(splits[split], name, totals[split]) for split in splits])
        for name in names
    ]
    lengths = "<p class='quiet'>Tokens of an example; padding is the share of positions without a token</p>"
    shown = [lengths, table_of(head, rows)]
    return [*shown, table_of(["label", *splits], labels)] if labels else shown


def _of_split(values: dict[str, Any], name: str, total: int) -> str:
    count = values.get("labels", {}).get(name, 0)
    return f"{count:,} ({count / total:.1%})"


def _numbers(names: list[str], cells: list[str]) -> str:
    """Return a row of names and of numbers, which stand at the right."""
    shown = [f"<td>{escaped(cell)}</td>" for cell in names] + [
        f"<td class='n'>{escaped(cell)}</td>" for cell in cells
    ]
    return f"<tr>{''.join(shown)}</tr>"


def _count(value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) else "–"


def _share(value: Any) -> str:
    return f"{value:.1%}" if is_number(value) else "–"
