"""The page: one HTML file that needs nothing beside it, whatever settings, samples and names hold."""

from lm_keras.config import GROUPS, Config
from lm_keras.objectives.measures import MEASURES, columns_of
from lm_keras.privacy.guarantee import Guarantee
from lm_keras.registry import WITH_EXAMPLES, WITH_LABELS, WITH_PAIRS, tasks_of
from lm_keras.report import answers, comparison, labels, pairs
from lm_keras.report.plots import COLOURS, svg_of
from lm_keras.report.runs import RunRecord, is_number
from lm_keras.report.tables import escaped, row_of, table_of

MAX_SAMPLES = 12
"""Text samples of a run that are shown; of more, evenly spaced ones."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222 }
body { max-width: 1180px; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.5em; margin-bottom: .2em } h2 { font-size: 1.15em; margin-top: 2em } h3 { font-size: 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88em }
th, td { text-align: left; padding: .25em .7em; border-bottom: 1px solid #ddd; vertical-align: top }
td.n, .scores th:nth-child(n+5) { text-align: right } td { overflow-wrap: break-word; max-width: 30em }
.best { font-weight: bold } .wide { overflow-x: auto }
.differs td, .differs th { background: #fff4d6 } .note { color: #a33 } .quiet { color: #666 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(345px, 1fr)); gap: .6em 1.2em }
figure { margin: 0 } figcaption { font-weight: 600; font-size: .9em } svg { width: 100%; height: auto }
.legend span { margin-right: 1.4em; white-space: nowrap }
.line { display: inline-block; width: 1.6em; vertical-align: middle }
pre { background: #f6f6f4; padding: .6em .8em; white-space: pre-wrap; overflow-wrap: anywhere }
pre { margin: .3em 0 1em }
summary { cursor: pointer; margin: .6em 0 }
"""

# No script may run and nothing may be fetched, even if something slipped through the escaping.
HEAD = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
)

ENVIRONMENT = {
    "step": "from step", "began": "began", "python": "Python", "lm_keras": "lm_keras",
    "tensorflow": "TensorFlow",
    "keras": "Keras", "numpy": "NumPy", "commit": "commit", "machine": "machine", "devices": "devices",
    "system": "system",
}  # fmt: skip
"""Field of `environment.json`, and what it is called."""


def page_of(runs: list[RunRecord]) -> str:
    """Return the report on some runs as HTML."""
    title = "Report on " + ", ".join(run.name for run in runs)
    notes = [f"{run.name}: {note}" for run in runs for note in run.notes] + cautions(runs)
    parts = [
        (
            "<!DOCTYPE html>\n<html"
            f" lang='en'><head>{HEAD}<title>{escaped(title)}</title><style>{STYLE}</style></head><body>"
        ),
        f"<h1>{escaped(title)}</h1>",
        *[f"<p class='note'>{escaped(note)}</p>" for note in notes],
        "<h2>Results</h2>",
        _results(runs),
        *_privacy(runs),
        *_comparison(runs),
        *labels.sections(runs),
        *pairs.sections(runs),
        *answers.sections(runs),
        "<h2>Curves</h2>",
        _curves(runs),
        *_all_samples(runs),
        "<h2>Settings</h2>",
        _settings(runs),
        "<h2>Data</h2>",
        _data(runs),
        "<h2>Environment</h2>",
        _environment(runs),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def cautions(runs: list[RunRecord]) -> list[str]:
    """Say where numbers of several runs cannot be compared."""
    texts = [run.data["splits"]["valid"] for run in runs if "valid" in run.data["splits"]]
    if len({text.get("fingerprint") for text in texts}) > 1:
        return ["The runs were not validated on the same text: their results do not compare."]
    cautions = []
    tasks = {run.name: _task_of(run) for run in runs}
    if len(set(tasks.values())) > 1:
        labelled = [name for name, task in tasks.items() if task in WITH_LABELS]
        paired = [name for name, task in tasks.items() if task in WITH_PAIRS]
        known = {*labelled, *paired}
        others = [name for name, task in tasks.items() if task != "causal_lm" and name not in known]
        if paired:
            cautions.append(
                f"{', '.join(paired)} predict targets of sources: their scores do not compare with those of"
                " others."
            )
        if labelled:
            cautions.append(
                f"{', '.join(labelled)} predict labels: their scores do not compare with those of others."
            )
        if others:
            named = ", ".join(f"{name} ({tasks[name]})" for name in others)
            cautions.append(
                f"{named}: their loss, perplexity and accuracy do not compare with those of other tasks."
            )
    if len({text.get("tokens") for text in texts}) > 1:
        cautions.append(
            "The runs cut the same text into other tokens: compare bits per byte, not loss or perplexity."
        )
    losing = [run.name for run in runs if run.data["splits"].get("valid", {}).get("unknown")]
    if losing and len(runs) > 1:
        cautions.append(
            f"The tokenizer of {', '.join(losing)} does not know all of the validation text: its bits "
            "per byte are left out, and those of its training text do not compare."
        )
    return cautions


def _results(runs: list[RunRecord]) -> str:
    """Show what every run reached; of several runs on the same text the lowest bits per byte stand out."""
    reached: dict[tuple, list[float]] = {}
    for run in runs:
        for split, values in run.scores().items():
            if is_number(values.get("bits_per_byte")):
                reached.setdefault(_text_of(run, split), []).append(values["bits_per_byte"])
    columns = columns_of(values for run in runs for values in run.scores().values())
    rows = []
    for run in runs:
        best = (run.results or {}).get("best_step")
        known = [run.name, run.state if best is None else f"{run.state}; best at {best:,}", _duration(run)]
        for split, values in run.scores().items():
            others = reached.get(_text_of(run, split), [])
            cells = [f"<td>{escaped(cell)}</td>" for cell in [*known, split]]
            for field in columns:
                value = values.get(field)
                lowest = field == "bits_per_byte" and len(others) > 1 and value == min(others)
                shown = MEASURES[field].shown(value) if is_number(value) else "–"
                cells.append(f"<td class='n{' best' if lowest else ''}'>{shown}</td>")
            rows.append(f"<tr>{''.join(cells)}</tr>")
        if not run.scores():
            rows.append(row_of([*known, "not evaluated", *[None] * len(columns)]))
    head = ["run", "state", "training", "split", *[MEASURES[field].head for field in columns]]
    return f"<div class='scores'>{table_of(head, rows)}</div>"


def _privacy(runs: list[RunRecord]) -> list[str]:
    """Say what private runs promise."""
    promised = {run.name: Guarantee.from_json(run.data["privacy"]) for run in runs if "privacy" in run.data}
    if not promised:
        return []
    rows = [row_of([name, one.line, one.details]) for name, one in promised.items()]
    return ["<h2>Privacy</h2>", table_of(["run", "promise", "details"], rows)]


def _comparison(runs: list[RunRecord]) -> list[str]:
    """Show what was measured of runs that belong to a comparison."""
    rows = comparison.rows_of(runs)
    if not rows:
        return []
    kinds = ["td", "td"] + ["td class=n"] * len(rows[0])
    shown = [
        f"<tr>{''.join(f'<{kind}>{escaped(cell)}</td>' for kind, cell in zip(kinds, row))}</tr>"
        for row in rows
    ]
    note = "cloze items: the share of one to five words that a model fills exactly as they were"
    return ["<h2>Comparison</h2>", f"<p class='quiet'>{note}</p>", table_of(comparison.HEAD, shown)]


def _text_of(run: RunRecord, split: str) -> tuple:
    return split, run.data["splits"].get(split, {}).get("fingerprint")


def _duration(run: RunRecord) -> str | None:
    last = run.training[-1] if run.training else {}
    seconds = (run.results or last).get("seconds")
    if not is_number(seconds):
        return None
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _curves(runs: list[RunRecord]) -> str:
    legend = "".join(
        f"<span><i class='line' style='border-top: 3px solid {COLOURS[number % len(COLOURS)]}'></i>"
        f" {escaped(run.name)}</span>"
        for number, run in enumerate(runs)
    )
    plots = []
    for name, measure in MEASURES.items():
        svg = svg_of(runs, name) if measure.title else None
        if svg:
            plots.append(f"<figure><figcaption>{escaped(measure.title)}</figcaption>{svg}</figure>")
    if not plots:
        return "<p class='quiet'>No step has been logged yet.</p>"
    meaning = "thin: training, the mean since the point before; with dots: validation, the whole split"
    legend += f"<span class='quiet'>{meaning}</span>"
    return f"<p class='legend'>{legend}</p><div class='plots'>{''.join(plots)}</div>"


def _task_of(run: RunRecord) -> str:
    return run.settings["task"] or tasks_of(run.settings["model"])[0]


def _all_samples(runs: list[RunRecord]) -> list[str]:
    """Show the samples of all runs that generate text."""
    parts = [_samples(run) for run in runs if _task_of(run) not in WITH_EXAMPLES]
    return ["<h2>Text samples</h2>", f"<div class='plots'>{''.join(parts)}</div>"] if parts else []


def _samples(run: RunRecord) -> str:
    steps = sorted({line["step"] for line in run.samples})
    shown = steps
    if len(steps) > MAX_SAMPLES:
        shown = [steps[round(i * (len(steps) - 1) / (MAX_SAMPLES - 1))] for i in range(MAX_SAMPLES)]
    parts = [f"<section><h3>{escaped(run.name)}</h3>"]
    if len(shown) < len(steps):
        parts.append(f"<p class='quiet'>{len(shown)} of {len(steps):,} samples, evenly spaced</p>")
    for line in run.samples:
        if line["step"] in shown:
            parts.append(_sample(f"step {line['step']:,}", line))
    last = (run.results or {}).get("sample")
    if last is not None and last["text"] not in [line["text"] for line in run.samples]:
        parts.append(_sample("at the end", last))
    if not steps and last is None:
        parts.append("<p class='quiet'>none yet</p>")
    return "".join(parts) + "</section>"


def _sample(when: str, sample: dict) -> str:
    # The line feed is the one that HTML drops; the text may begin with one of its own.
    text = escaped(sample["text"])
    prompt = "" if sample.get("filled") else escaped(sample.get("prompt", ""))
    return f"<div class='quiet'>{escaped(when)}</div><pre>\n<b>{prompt}</b>{text}</pre>"


def _settings(runs: list[RunRecord]) -> str:
    """Show what differs between the runs, or of a single run what differs from the defaults; the
    rest folded.
    """
    defaults = Config().flat()
    groups = {name: group for group in GROUPS for name in getattr(Config(), group).__dataclass_fields__}
    differing, equal = [], []
    for name in defaults:
        values = [run.settings[name] for run in runs]
        marked = len({repr(value) for value in values}) > 1 if len(runs) > 1 else values[0] != defaults[name]
        cells = [groups[name], f"--{name}", *values, defaults[name]]
        (differing if marked else equal).append(row_of(cells, "differs" if marked else ""))
    head = ["group", "setting", *[run.name for run in runs], "default"]
    what = "are the same in all runs" if len(runs) > 1 else "have their default"
    folded = f"<details><summary>{len(equal)} settings {what}</summary>{table_of(head, equal)}</details>"
    return (table_of(head, differing) if differing else "") + folded


def _data(runs: list[RunRecord]) -> str:
    fields = ("corpus", "licence", "rule", "documents", "tokens", "bytes")
    users: dict[tuple, list[str]] = {}
    for run in runs:
        for split, values in run.data["splits"].items():
            bad = run.data.get("bad_text", {}).get(split, {})
            repaired = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in bad.items())
            cells = [f"{v:,}" if type(v) is int else v for v in map(values.get, fields)]
            cells.append(str(values.get("corpus_sha256"))[:16])
            users.setdefault((split, *cells, repaired or None), []).append(run.name)
    rows = [row_of([", ".join(names), *cells]) for cells, names in users.items()]
    return table_of(["runs", "split", *fields, "sha256 of the corpus", "bad text"], rows)


def _environment(runs: list[RunRecord]) -> str:
    """Show a column for each time that a run began or went on."""
    launches = [(run.name, launch) for run in runs for launch in run.launches or [{"step": "not recorded"}]]
    rows = [
        row_of([name, *[launch.get(field) for _, launch in launches]]) for field, name in ENVIRONMENT.items()
    ]
    return table_of(["", *[name for name, _ in launches]], rows)
