"""Curves as SVG that stands in a page: no text that a font may lack, no reference to anything outside."""

import dataclasses
import io
import logging
import re

from lm_keras.report.runs import Points, Run, points_of, thinned

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


@dataclasses.dataclass(frozen=True)
class Measure:
    """What one plot shows.

    Attributes:
        name: of the field in a training line.
        title: what stands above the plot, with the unit.
        evaluated: name of the field in an evaluation line, or an empty string.
        logarithmic: whether the values span orders of magnitude.
        from_zero: whether the axis begins at 0, for values that are read as shares of the largest.
    """

    name: str
    title: str
    evaluated: str = ""
    logarithmic: bool = False
    from_zero: bool = False


MEASURES = (
    Measure("loss", "Loss, nats per token", "nats_per_token"),
    Measure("perplexity", "Perplexity", "perplexity", logarithmic=True),
    Measure("bits_per_byte", "Bits per byte", "bits_per_byte"),
    Measure("learning_rate", "Learning rate", from_zero=True),
    Measure("dropout", "Dropout rate", from_zero=True),
    Measure("gradient_norm", "Gradient norm before clipping"),
    Measure("tokens_per_second", "Tokens per second", from_zero=True),
)


def curves_of(run: Run, measure: Measure) -> dict[str, Points]:
    """Return the curves of a run that have points: `train`, `valid` -> [(step, value), ...]."""
    curves = {"train": points_of(run.training, measure.name)}
    if measure.evaluated:
        lines = [line for line in run.evaluations if line["split"] == "valid"]
        curves["valid"] = points_of(lines, measure.evaluated)
    if measure.logarithmic:
        curves = {part: [point for point in points if point[1] > 0] for part, points in curves.items()}
    return {part: thinned(points) for part, points in curves.items() if points}


def svg_of(runs: list[Run], measure: Measure) -> str | None:
    """Draw one measure of all runs: thin lines are training, lines with dots validation.

    Returns:
        An `<svg>` element in which every curve has the id `MEASURE-NUMBER-PART`, such as `loss-0-valid`, or
        None if no run has a value, or all have nothing but 0 where that means that it is not used.
    """
    curves = [
        (number, part, points)
        for number, run in enumerate(runs)
        for part, points in curves_of(run, measure).items()
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
    return _inline(written.getvalue(), measure)


def _inline(document: str, measure: Measure) -> str:
    """Turn an SVG file into an element for a page that holds several of them."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|url\(#|xlink:href="#)', rf"\1{measure.name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{measure.title}"', svg, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1).strip()
