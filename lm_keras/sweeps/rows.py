"""What the run folder of each trial says, and trials that differ in their seed alone as one."""

import dataclasses
import math
import statistics
from typing import Any

from lm_keras.errors import InputError
from lm_keras.objectives.measures import MEASURES
from lm_keras.registry import TASKS, WITH_EXAMPLES
from lm_keras.report.runs import RunRecord, is_number, read_runs
from lm_keras.sweeps.folder import SweepFolder
from lm_keras.sweeps.search import Trial, cases_of, shortly

CASE = "case"
"""The column of `--cases`."""

ORDER = ("finished", "unfinished", "failed", "damaged")


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """What came of one trial.

    Attributes:
        trial: which.
        run: what its folder holds; None where it never began or cannot be read.
        failed: why it failed, or None.
        damage: why its folder cannot be read, or None.
        measure: what trials are compared by: `--best_by` or the measure of their labels, where all have the
            same, else bits per byte, if all have them, else nats per token.
    """

    trial: Trial
    run: RunRecord | None
    failed: str | None
    damage: str | None
    measure: str

    @property
    def state(self) -> str:
        """Return one of `ORDER`."""
        if self.failed or self.damage:
            return "failed" if self.failed else "damaged"
        return "finished" if self.run and self.run.results is not None else "unfinished"

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Return the validations, in the order of their steps."""
        lines = self.run.evaluations if self.run else []
        return [line for line in lines if line.get("split") == "valid" and is_number(line.get(self.measure))]

    @property
    def best(self) -> dict[str, Any]:
        """Return the best validation, or nothing."""
        return min(self.evaluations, key=lambda line: self.cost(line[self.measure]), default={})

    @property
    def last(self) -> dict[str, Any]:
        """Return the last validation, or nothing."""
        return self.evaluations[-1] if self.evaluations else {}

    @property
    def trained(self) -> dict[str, Any]:
        """Return the last line on the training text, or nothing; with the loss under the name that
        validations have."""
        line = self.run.training[-1] if self.run and self.run.training else {}
        return {**line, "nats_per_token": line.get("loss")}

    @property
    def result(self) -> float | None:
        """Return what trials are compared by: the best validation."""
        return self.best.get(self.measure)

    def cost(self, value: float) -> float:
        """Return a number that is lower where the measure is better."""
        return MEASURES[self.measure].cost(value)

    @property
    def began(self) -> str:
        """Return when the trial began, in a form that can be sorted."""
        launches = self.run.launches if self.run else []
        return str(launches[0].get("began", "")) if launches else ""

    @property
    def seconds(self) -> float | None:
        """Return the seconds of training so far."""
        return ((self.run and self.run.results) or self.trained).get("seconds")

    @property
    def parameters(self) -> int | None:
        """Return how many weights the network has, once the trial is finished."""
        return ((self.run and self.run.results) or {}).get("parameters")

    @property
    def outcome(self) -> str:
        """Say in one line what came of it."""
        if self.failed or self.damage:
            return f"{self.state}: {self.failed or self.damage}"
        if not self.run:
            return "not begun"
        state = {"unfinished": f"{self.run.state}; "}.get(self.state, "")
        scored = "not validated"
        if self.best:
            scored = f"{scored_as(self.result)} {MEASURES[self.measure].label} at step {self.best['step']:,}"
        return f"{state}{scored}, {self.seconds or 0:.0f} s of training"


@dataclasses.dataclass(frozen=True)
class Group:
    """Trials that differ in their seed alone.

    Attributes:
        settings: what they have in common of what is varied, by flag, or by `CASE` a case of `--cases`.
        rows: those of them that were validated and did not fail.
    """

    settings: dict[str, Any]
    rows: list[TrialRow]

    @property
    def name(self) -> str:
        """Return what tells it from other groups."""
        return ", ".join(
            value if name == CASE else f"{name}={shortly(value)}" for name, value in self.settings.items()
        )

    def values(self, which: str = "best") -> list[float]:
        """Return what its trials reached: `best`, `last`, or at the end on the training text, `trained`."""
        found = (getattr(row, which).get(row.measure) for row in self.rows)
        return [value for value in found if is_number(value)]

    def mean(self, which: str = "best") -> float:
        """Return their mean, or not a number where there is none."""
        values = self.values(which)
        return statistics.fmean(values) if values else math.nan

    @property
    def cost(self) -> float:
        """Return a number that is lower where the mean of the best is better."""
        return self.rows[0].cost(self.mean())


def rows_of(folder: SweepFolder) -> list[TrialRow]:
    """Return what came of all trials that began or failed, the best first."""
    rows = [
        _read(folder, trial, "nats_per_token")
        for trial in folder.trials
        if trial.name in folder.failed or folder.begun(trial)
    ]
    judged_by = {_judged_by(row.run) for row in rows if row.run}
    if len(judged_by) == 1 and (measure := judged_by.pop()):
        rows = [dataclasses.replace(row, measure=measure) for row in rows]
    elif all(is_number(line.get("bits_per_byte")) for row in rows for line in row.evaluations):
        rows = [dataclasses.replace(row, measure="bits_per_byte") for row in rows]
    return sorted(
        rows,
        key=lambda row: (ORDER.index(row.state), math.inf if row.result is None else row.cost(row.result)),
    )


def row_of(folder: SweepFolder, trial: Trial) -> TrialRow:
    """Return what came of one trial; there are bits per byte only where its tokenizer loses no text."""
    row = _read(folder, trial, "bits_per_byte")
    if row.run and (measure := _judged_by(row.run)):
        return dataclasses.replace(row, measure=measure)
    return row if row.best else dataclasses.replace(row, measure="nats_per_token")


def _judged_by(run: RunRecord) -> str | None:
    """Return the measure that `--best_by` names, or by which labels or pairs are judged; None for the
    likelihood of a text.
    """
    named, task = run.settings.get("best_by"), run.settings.get("task")
    if named or task not in WITH_EXAMPLES:
        return named
    best = TASKS[task].best
    validations = [line for line in run.evaluations if line.get("split") == "valid"]
    return best if all(best in line for line in validations) else "accuracy"  # Of tags that are not spans.


def _read(folder: SweepFolder, trial: Trial, measure: str) -> TrialRow:
    run = damage = None
    if folder.begun(trial):
        try:
            (run,) = read_runs([str(folder.path / trial.name)])
        except InputError as error:
            damage = str(error)
    return TrialRow(trial, run, folder.failed.get(trial.name), damage, measure)


def columns_of(trials: list[Trial], base: dict[str, Any]) -> list[str]:
    """Return what tells trials apart: the flags that are not the same in all, in the order in which they
    first occur.

    Those of `--cases` are one column, `CASE`, if every trial is one of a case.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    varied = [name for name in names if len({repr(_cell(trial, name, base)) for trial in trials}) > 1]
    cases = {trial.case for trial in trials}
    if None in cases or len(cases) < 2:
        return varied or names
    in_cases = {name for case in cases for name in cases_of(case)[case]}
    return [CASE, *(name for name in varied if name not in in_cases)]


def settings_of(trial: Trial, columns: list[str], base: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a trial in some columns."""
    return {name: _cell(trial, name, base) for name in columns}


def _cell(trial: Trial, column: str, base: dict[str, Any]) -> Any:
    return trial.case if column == CASE else trial.settings.get(column, base.get(column))


def groups_of(rows: list[TrialRow], columns: list[str], base: dict[str, Any]) -> list[Group]:
    """Put trials together that differ in their seed alone, the best mean first; a seed that alone is varied
    is a setting."""
    shared = [name for name in columns if name != "seed"] or columns
    groups: dict[str, Group] = {}
    for row in rows:
        if row.state in ("finished", "unfinished") and row.result is not None:
            settings = settings_of(row.trial, shared, base)
            groups.setdefault(repr(settings), Group(settings, [])).rows.append(row)
    return sorted(groups.values(), key=lambda group: group.cost)


def scored_as(value: float, digits: int = 4) -> str:
    """Return a result as a table shows it; one that diverged is not written out."""
    return f"{value:.{digits}f}" if abs(value) < 10_000 else f"{value:.3g}"
