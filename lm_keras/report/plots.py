"""Curves as SVG for a page: no text that a font may lack, no reference to anything outside."""

import io
import logging
import re

from lm_keras.objectives.measures import MEASURES
from lm_keras.report.runs import Points, RunRecord, points_of, thinned

COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22",
    "#17becf",
)  # fmt: skip
"""One for each run; more runs than colours begin again."""

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lm_keras",  # the same curves give the same bytes
    "path.simplify": False,
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
}


def curves_of(run: RunRecord, name: str) -> dict[str, Points]:
    """Return the curves of a measure of a run that have points: `train`, `valid` -> [(step, value), ...]."""
    measure = MEASURES[name]
    curves = {"train": points_of(run.training, name)}
    if measure.evaluated:
        lines = [line for line in run.evaluations if line["split"] == "valid"]
        curves["valid"] = points_of(lines, measure.evaluated)
    if measure.logarithmic:
        curves = {part: [point for point in points if point[1] > 0] for part, points in curves.items()}
    return {part: thinned(points) for part, points in curves.items() if points}


def svg_of(runs: list[RunRecord], name: str) -> str | None:
    """Draw one measure of all runs: thin lines are training, lines with dots validation.

    Args:
        runs: of a page.
        name: one of `MEASURES` that has a title.

    Returns:
        An `<svg>` element in which every curve has the id `MEASURE-NUMBER-PART`, such as `loss-0-valid`, or
        None if no run has a value, or all have nothing but 0 where that means that it is not used.
    """
    measure = MEASURES[name]
    curves = [
        (number, part, points)
        for number, run in enumerate(runs)
        for part, points in curves_of(run, name).items()
    ]
    values = [value for _, _, points in curves for _, value in points]
    if not values or (measure.from_zero and not any(values)):
        return None
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # It tells of its cache of fonts.
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.6), layout="tight")
        axes = figure.add_subplot()
        for number, part, points in curves:
            colour = COLOURS[number % len(COLOURS)]
            # In plots of both, the many points of training stand back.
            look = {"alpha": 0.55, "linewidth": 1.0} if measure.evaluated else {"linewidth": 1.3}
            if part == "valid":
                look = {"linewidth": 1.6, "marker": "o", "markersize": 3}
            elif len(points) == 1:
                look["marker"] = "."
            axes.plot(*zip(*points), color=colour, gid=f"{number}-{part}", **look)
        axes.set_xlabel("step")
        if measure.from_zero:
            axes.set_ylim(bottom=0)
        if measure.logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        written = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    return _inline(written.getvalue(), name)


def _inline(document: str, name: str) -> str:
    """Turn an SVG file into an element for a page that holds several of them."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|url\(#|xlink:href="#)', rf"\1{name}-", svg)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{MEASURES[name].title}"', svg, count=1
    )
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1).strip()
