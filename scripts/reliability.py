"""Do everything that can go wrong, and write down what the user reads: python scripts/reliability.py"""

import dataclasses
import sys
from pathlib import Path

from lm_keras import InputError, flags
from lm_keras.fields import setting

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Options:
    """Which faults, and where the table goes."""

    only: str = setting("", "part of the names of the faults to carry out; empty: all of them")
    page: str | None = setting(
        None, "file for the page [docs/reliability.md if all are carried out]", path=True
    )


def main() -> int:
    """Carry out the faults and write the page; the exit code is 1 if one of them has problems."""
    options = flags.read(Options)
    sys.path.insert(0, str(ROOT / "tests"))
    import faults

    rows, failed = [faults.HEAD], 0
    for title, some in faults.collection().items():
        some = [fault for fault in some if options.only in fault.name]
        if some:
            rows.append(
                f"\n## {title.removesuffix('.')}\n\n| fault | how it is made | times | exit code | what the user reads |"
            )
            rows.append("|---|---|---|---|---|")
        for fault in some:
            results = [fault.carry_out() for _ in range(fault.times)]
            problems = [problem for result in results for problem in result.problems]
            failed += bool(problems)
            code, line, _ = results[-1]
            cells = [fault.name, fault.how, f"{fault.times}", f"{code}", f"`{line}`" if line else ""]
            rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
            print("; ".join([fault.name, *(problems or ["as expected"])]), file=sys.stderr)
    if len(rows) == 1:
        raise InputError(f"--only={options.only} is in no name of a fault; docs/reliability.md has the names")
    if page := options.page or (None if options.only or failed else ROOT / "docs" / "reliability.md"):
        Path(page).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    flags.define(Options)
    flags.run(main)
