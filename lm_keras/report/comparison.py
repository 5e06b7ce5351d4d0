"""The table of a comparison, of runs that were measured for it."""

from typing import Any

from lm_keras.report.runs import RunRecord, is_number

FILE = "comparison.json"
"""What a run folder has of it."""

WORDS = ("1", "2", "3", "4", "5")

HEAD = (
    "run", "family", "parameters", "steps", "training", "tokens/s", "targets/s", "peak MiB", "bits/byte",
    *(f"{n} word{'s' * (n != '1')}" for n in WORDS),
)  # fmt: skip


def rows_of(runs: list[RunRecord]) -> list[list[str]]:
    """Return the cells of each run that was measured, as `HEAD` names them."""
    return [_row(run, run.comparison) for run in runs if run.comparison]


def table_of(runs: list[RunRecord]) -> str:
    """Return the table in Markdown."""
    lines = [HEAD, ["---", "---", *["---:"] * (len(HEAD) - 2)], *rows_of(runs)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(run: RunRecord, found: dict[str, Any]) -> list[str]:
    last = run.training[-1] if run.training else {}
    seconds = (run.results or {}).get("seconds")
    read = (
        run.settings["batch_size"] * run.settings["sequence_length"]
    )  # Places, whatever is predicted of them.
    done = is_number(seconds) and seconds > 0 and is_number(last.get("step"))
    return [
        run.name,
        str(run.settings["model"]),
        _number((run.results or {}).get("parameters"), ",.0f"),
        _number(last.get("step"), ",.0f"),
        f"{seconds / 60:.1f} min" if is_number(seconds) else "–",
        _number(last["step"] * read / seconds if done else None, ",.0f"),
        _number(last.get("tokens_per_second"), ",.0f"),
        _number(found.get("peak_mebibytes"), ",.0f"),
        _number(found.get("bits_per_byte"), ".3f"),
        *[
            f"{share:.1%}" if is_number(share) else "–"
            for share in (found.get(f"blanks_of_{n}") for n in WORDS)
        ],
    ]


def _number(value: Any, form: str) -> str:
    return format(value, form) if is_number(value) else "–"
