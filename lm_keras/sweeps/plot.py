"""What the trials of a sweep reached, as one picture."""

import io
import logging
import math
import statistics
from typing import TYPE_CHECKING, Any

from lm_keras.objectives.measures import MEASURES
from lm_keras.report.plots import COLOURS, STYLE
from lm_keras.report.runs import is_number, points_of
from lm_keras.sweeps.rows import CASE, Group
from lm_keras.sweeps.search import shortly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = len(COLOURS)
"""Lines that can be told apart."""

MOST_NAMES = 16
"""Groups that are ranked by name; of more, each flag gets a panel."""

MOST_TICKS = 8
"""Values of a flag that are each marked on its axis."""

DECADE = 10.0
"""How far values have to reach for a logarithmic axis."""

KINDS = {
    "best": {"marker": "o", "linestyle": "-"},
    "last": {"marker": "s", "linestyle": "--", "alpha": 0.6},
    "trained": {"marker": "^", "linestyle": ":", "alpha": 0.6},
}
LABELS = {"best": "best validation", "last": "last validation", "trained": "training, at the end"}


def png_of(groups: list[Group]) -> bytes | None:
    """Draw what trials reached, beside the curves of their validation.

    One flag with numbers is a curve over them; a second flag makes a line for each of its values; cases,
    names and three flags or more are ranked; more groups than can be named get a panel for each flag, and one
    in the order of the trials.

    Args:
        groups: trials that differ in their seed alone, the best first.

    Returns:
        A PNG, the same bytes for the same trials, or None where nothing was validated.
    """
    if not groups:
        return None
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # It tells of its cache of fonts.
    import matplotlib
    from matplotlib.figure import Figure

    names = list(groups[0].settings)
    x, second = _axes_of(groups)
    panels = [] if x or len(groups) <= MOST_NAMES else names
    with matplotlib.rc_context(STYLE):
        count = len(panels) + 1 or 1
        columns = min(3, count) if panels else 2
        rows = math.ceil(count / columns) if panels else 1
        height = 3.6 * rows if x or panels else max(3.6, 0.32 * len(groups) + 1.4)
        figure = Figure(figsize=(4.8 * columns, height), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        if panels:
            for name, panel in zip(panels, axes):
                _scatter(panel, groups, name)
            _in_order(axes[len(panels)], groups)
            for panel in axes[count:]:
                panel.remove()
        else:
            if x:
                _lines(axes[0], groups, x, second)
            else:
                _ranking(axes[0], groups)
            _curves(axes[1], groups, named=bool(x))
        written = io.BytesIO()
        figure.savefig(written, format="png", dpi=110, metadata={"Software": None})
    return written.getvalue()


def _axes_of(groups: list[Group]) -> tuple[str | None, str | None]:
    """Return the flag along the axis, and the one with a line for each value; None for what there is not."""
    names = list(groups[0].settings)
    values = {name: dict.fromkeys(group.settings[name] for group in groups) for name in names}
    numeric = [name for name in names if name != CASE and all(map(is_number, values[name]))]
    if not numeric or len(names) > 2:
        return None, None
    x = max(numeric, key=lambda name: len(values[name]))  # The first of those with the most.
    second = next((name for name in names if name != x), None)
    if second and len(values[second]) > MOST_LINES:
        return None, None
    return x, second


def _measure(groups: list[Group]) -> str:
    return groups[0].rows[0].measure


def _lines(panel: "Axes", groups: list[Group], x: str, second: str | None) -> None:
    """Draw what was reached over a flag: means as lines, each trial as a point."""
    for number, value in enumerate(
        dict.fromkeys(group.settings.get(second) for group in _sorted(groups, second))
    ):
        line = _sorted([group for group in groups if group.settings.get(second) == value], x)
        kinds = KINDS if second is None else {"best": KINDS["best"]}
        for index, (kind, look) in enumerate(kinds.items()):
            colour = COLOURS[(number if second else index) % MOST_LINES]
            shown = LABELS[kind] if second is None else f"{second}={shortly(value)}"
            points = [(group.settings[x], group.mean(kind)) for group in line]
            panel.plot(*zip(*points), color=colour, label=shown, markersize=4, **look)
            single = [(group.settings[x], value) for group in line for value in group.values(kind)]
            panel.plot(*zip(*single), ".", color=colour, markersize=3)
    _scale(panel, x, [group.settings[x] for group in groups])
    panel.set_ylabel(MEASURES[_measure(groups)].label)
    panel.legend(fontsize=8)


def _sorted(groups: list[Group], name: str | None) -> list[Group]:
    values = [group.settings.get(name) for group in groups]
    as_number = all(map(is_number, values))
    return sorted(
        groups, key=lambda group: group.settings[name] if as_number else str(group.settings.get(name))
    )


def _scale(panel: "Axes", name: str, values: list[Any]) -> None:
    """Make the axis of a flag logarithmic where its values are spaced so, and mark few values themselves."""
    panel.set_xlabel(name)
    distinct = sorted(set(values))
    above = [value for value in distinct if value > 0]
    spread = len(above) > 1 and above[-1] >= DECADE * above[0]
    if spread and distinct[0] >= 0 and statistics.median_low(above) < above[-1] / 3:
        with_zero = {"linthresh": above[0]} if distinct[0] == 0 else {}
        panel.set_xscale("symlog" if with_zero else "log", **with_zero)
    if len(distinct) <= MOST_TICKS:
        panel.set_xticks(distinct, map(shortly, distinct))
        panel.minorticks_off()


def _ranking(panel: "Axes", groups: list[Group]) -> None:
    """Draw the groups below each other, the best above, with what they reached as points."""
    for index, kind in enumerate(KINDS):
        points = [(value, place) for place, group in enumerate(groups) for value in group.values(kind)]
        if points:
            marker = KINDS[kind]["marker"]
            panel.plot(
                *zip(*points), marker, color=COLOURS[index], label=LABELS[kind], markersize=4, alpha=0.8
            )
    panel.set_yticks(range(len(groups)), [_wrapped(group.name) for group in groups])
    for label, colour in zip(panel.get_yticklabels(), COLOURS):  # Those of the curves.
        label.set_color(colour)
    panel.invert_yaxis()
    panel.set_xlabel(MEASURES[_measure(groups)].label)
    panel.legend(
        fontsize=8, ncols=len(KINDS), loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.0
    )


def _wrapped(name: str) -> str:
    """Break a long name at its spaces."""
    lines = [""]
    for word in name.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > 34:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return "\n".join(lines)


def _curves(panel: "Axes", groups: list[Group], named: bool) -> None:
    """Draw the validation of the best groups over the steps, a line for each trial; named unless the ranking
    does it.
    """
    for number, group in enumerate(groups[:MOST_LINES]):
        for index, row in enumerate(group.rows):
            points = points_of(row.evaluations, row.measure)
            label = {"label": group.name} if not index else {}
            panel.plot(*zip(*points), marker=".", linewidth=1.2, color=COLOURS[number], **label)
    if len(groups) > MOST_LINES:
        panel.set_title(f"the best {MOST_LINES} of {len(groups)}", fontsize=9)
    panel.set_xlabel("step")
    panel.set_ylabel(f"validation, {MEASURES[_measure(groups)].label}")
    if named:
        panel.legend(fontsize=7)


def _scatter(panel: "Axes", groups: list[Group], name: str) -> None:
    """Draw what each group reached over one flag, whatever the others were."""
    values = [group.settings[name] for group in groups]
    if all(map(is_number, values)):
        _scale(panel, name, values)
    else:
        values = [_wrapped(shortly(value)) for value in values]
        panel.set_xlabel(name)
    panel.plot(values, [group.mean() for group in groups], "o", color=COLOURS[0], markersize=4)
    panel.set_ylabel(MEASURES[_measure(groups)].label)


def _in_order(panel: "Axes", groups: list[Group]) -> None:
    """Draw what was reached in the order in which trials were carried out, and the best up to each."""
    rows = sorted((row for group in groups for row in group.rows), key=lambda row: row.began)
    values = [row.result for row in rows]
    panel.plot(range(1, len(values) + 1), values, "o", color=COLOURS[0], markersize=4, label="trial")
    best = [min(values[: number + 1], key=rows[0].cost) for number in range(len(values))]
    panel.step(range(1, len(values) + 1), best, where="post", color=COLOURS[1], label="best so far")
    panel.set_xlabel("trial")
    panel.set_ylabel(MEASURES[_measure(groups)].label)
    panel.legend(fontsize=8)
