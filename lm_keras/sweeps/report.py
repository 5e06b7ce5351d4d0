"""What came of the trials of a sweep: a table for people, one for programs, a plot, and TensorBoard's
HParams.
"""

import dataclasses
import json
from typing import Any

from lm_keras.objectives.measures import MEASURES
from lm_keras.registry import SCORES
from lm_keras.report.page import cautions
from lm_keras.report.runs import is_number
from lm_keras.sweeps import hparams, plot
from lm_keras.sweeps.folder import SweepFolder
from lm_keras.sweeps.rows import Group, TrialRow, columns_of, groups_of, rows_of, scored_as, settings_of
from lm_keras.sweeps.search import shortly

REMARK = """*best* is the best validation and *step* where it was, *last* the validation at the end,
*training* the last line on the training text, with dropout, noise and the like on."""


@dataclasses.dataclass(frozen=True)
class Results:
    """What came of a sweep so far.

    Attributes:
        rows: the trials, the best first.
        columns: what tells them apart.
        groups: trials that differ in their seed alone, the best first.
        base: the settings that all have where they say nothing else.
    """

    rows: list[TrialRow]
    columns: list[str]
    groups: list[Group]
    base: dict[str, Any]

    @property
    def repeated(self) -> bool:
        """Tell whether there are means over several seeds."""
        return any(len(group.rows) > 1 for group in self.groups)


def write(folder: SweepFolder, command: str) -> Results:
    """Write table.md, table.jsonl, plot.png and the HParams of a sweep; return what they show.

    Args:
        folder: of the sweep.
        command: what the sweep was started with.
    """
    rows, base = rows_of(folder), folder.base.flat()
    columns = columns_of(folder.trials, base)
    results = Results(rows, columns, groups_of(rows, columns, base), base)
    if rows:
        folder.write("table.md", page_of(results, folder.path.resolve().name, command))
        folder.write("table.jsonl", "".join(json.dumps(record_of(row)) + "\n" for row in rows))
        hparams.write(folder, rows)
        if picture := plot.png_of(results.groups):
            folder.write("plot.png", picture)
    return results


def page_of(results: Results, title: str, command: str) -> str:
    """Return table.md."""
    parts = [f"# {title}", f"    {command}"]
    if results.groups:
        parts.append("![What the trials reached](plot.png)")
    if results.repeated:
        parts += ["Means over the seeds, with the lowest and the highest:", _table(*_means(results))]
        parts.append("Each trial:")
    parts += [_table(*_each(results)), REMARK]
    runs = [row.run for row in results.rows if row.run]
    parts += cautions(runs)
    launches = [launch for run in runs for launch in run.launches]
    for field, name in (("machine", "Machine"), ("devices", "Devices"), ("commit", "Commit")):
        found = dict.fromkeys(str(launch[field]) for launch in launches if launch.get(field))
        parts += [f"{name}: {'; '.join(found)}."] * bool(found)
    return "\n\n".join(parts) + "\n"


def shown(results: Results) -> str:
    """Return what a terminal shows at the end, without times."""
    head, cells = _means(results) if results.repeated else _each(results, times=False)
    widths = [max(map(len, column)) for column in zip(head, *cells)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *cells]]
    return "\n".join(lines) + "\n"


def _means(results: Results) -> tuple[list[str], list[list[str]]]:
    groups = results.groups
    names = list(groups[0].settings)
    head = [*names, "seeds", f"best, {MEASURES[groups[0].rows[0].measure].label}", "last", "training"]
    return head, [
        [
            *map(shortly, group.settings.values()),
            f"{len(group.rows)}",
            *(_spread(group.values(which)) for which in ("best", "last", "trained")),
        ]
        for group in groups
    ]


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    mean = sum(values) / len(values)
    spread = f" ({scored_as(min(values), 3)} to {scored_as(max(values), 3)})" if len(values) > 1 else ""
    return scored_as(mean, 3) + spread


def _each(results: Results, times: bool = True) -> tuple[list[str], list[list[str]]]:
    measure = results.rows[0].measure if results.rows else "bits_per_byte"
    head = [*results.columns, f"best, {MEASURES[measure].label}", "step", "last", "training", "parameters"]
    head += [*["seconds"] * times, "state"]
    cells = []
    for row in results.rows:
        settings = settings_of(row.trial, results.columns, results.base)
        scores = (row.result, row.last.get(measure), row.trained.get(measure))
        best, last, trained = (scored_as(score) if is_number(score) else "" for score in scores)
        step, parameters = (
            f"{number:,}" if is_number(number) else "" for number in (row.best.get("step"), row.parameters)
        )
        seconds = [f"{row.seconds:.0f}" if is_number(row.seconds) else ""] * times
        state = row.run.state if row.run and not row.failed else row.outcome
        cells.append(
            [*map(shortly, settings.values()), best, step, last, trained, parameters, *seconds, state]
        )
    return head, cells


def _table(head: list[str], cells: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def record_of(row: TrialRow) -> dict[str, Any]:
    """Return a line of table.jsonl."""
    return {
        "trial": row.trial.name,
        "case": row.trial.case,
        "settings": row.trial.settings,
        "state": row.state,
        "failed": row.failed,
        "best_step": row.best.get("step"),
        **{
            f"{which}_{score}": getattr(row, which).get(score)
            for which in ("best", "last", "trained")
            for score in SCORES
        },
        "parameters": row.parameters,
        "seconds": row.seconds,
    }
