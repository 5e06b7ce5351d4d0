"""Write one page on one or several runs: python scripts/report.py --run_dir=runs/quickstart [runs/other]"""

import dataclasses
import sys
from pathlib import Path

from lm_keras import flags, paths
from lm_keras.disk.files import write_atomically
from lm_keras.fields import setting
from lm_keras.report import page, runs


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Which runs, and where the page goes."""

    run_dir: str | None = setting(None, "folder of the run; further ones follow as words", path=True)
    output: str | None = setting(None, "the HTML file [RUN_DIR/report.html]", path=True)


def main(*more: str) -> int:
    """Read the runs and write the page."""
    options = flags.read(ReportOptions)
    folders = [*filter(None, [options.run_dir]), *map(paths.expanded, more)]
    flags.given_run(next(iter(folders), None))
    found = runs.read_runs(folders, lambda line: print(line, file=sys.stderr))
    for run in found:
        for note in run.notes:
            print(f"{run.name}: {note}", file=sys.stderr)
    output = Path(options.output or found[0].path / "report.html")
    content = page.page_of(found).encode("utf-8", "replace")
    write_atomically(output, content)
    print(f"wrote {output}, {len(content) / 1024:,.0f} KiB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    flags.define(ReportOptions)
    flags.run(main, commands=None)
