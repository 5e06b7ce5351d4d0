"""Do everything that can go wrong, and write down what the user reads: python scripts/reliability.py"""

import concurrent.futures
import dataclasses
import itertools
import sys
from pathlib import Path

from lm_keras import InputError, flags
from lm_keras.fields import setting

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results" / "reliability.md"


@dataclasses.dataclass(frozen=True)
class ReliabilityOptions:
    """Which faults, and where the table goes."""

    only: str = setting("", "part of the names of the faults to make; empty: all of them")
    page: str | None = setting(None, "file for it [docs/results/reliability.md, of all faults]", path=True)
    jobs: int = setting(2, "faults that are made at the same time", low=1)


def main() -> int:
    """Carry out the faults and write the page; the exit code is 1 if one of them has problems."""
    options = flags.read(ReliabilityOptions)
    sys.path.insert(0, str(ROOT / "tests"))
    import faults

    all_of = {
        title: [one for one in some if options.only in one.name]
        for title, some in faults.collection().items()
    }
    chosen = {title: some for title, some in all_of.items() if some}
    rows, failed = [faults.HEAD], 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        every = itertools.chain.from_iterable(chosen.values())
        done = pool.map(lambda fault: [fault.execute() for _ in range(fault.times)], every)
        for title, some in chosen.items():
            head = "| fault | how it is made | times | exit code | what the user reads |"
            rows += [f"\n## {title.removesuffix('.')}\n\n{head}", "|---|---|---|---|---|"]
            for fault in some:
                results = next(done)
                problems = [problem for result in results for problem in result.problems]
                failed += bool(problems)
                code, line, _ = results[-1]
                cells = [fault.name, fault.how, f"{fault.times}", f"{code}", f"`{line}`" if line else ""]
                rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
                print("; ".join([fault.name, *(problems or ["as expected"])]), file=sys.stderr)
    if len(rows) == 1:
        raise InputError(f"--only={options.only} is in no name of a fault; they are in {PAGE}")
    if page := options.page or (None if options.only or failed else PAGE):
        Path(page).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    flags.define(ReliabilityOptions)
    flags.run(main)
