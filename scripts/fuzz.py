"""Try the laws of tests/fuzz on random cases: python scripts/fuzz.py --cases=10000"""

import dataclasses
import math
import sys
from pathlib import Path

from lm_keras import InputError, flags, quiet
from lm_keras.config import setting

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results" / "fuzz.md"


@dataclasses.dataclass(frozen=True)
class FuzzOptions:
    """How many cases, which, and where the table goes."""

    cases: int = setting(10_000, "cases of all laws together, at least", low=1)
    seed: int = setting(1, "the same seed draws the same cases", low=0)
    only: str = setting("", "part of the names of the laws to try; empty: all of them")
    page: str | None = setting(
        None, "file for the page [docs/results/fuzz.md if all are tried and hold]", path=True
    )


def main() -> int:
    """Try the laws and write the page; the exit code is 1 if one of them does not hold."""
    options = flags.read(FuzzOptions)
    quiet.import_tensorflow()
    sys.path.insert(0, str(ROOT / "tests"))
    import fuzz
    from fuzz import _page

    chosen = {
        title: [law for law in laws if options.only in law.name] for title, laws in fuzz.collection().items()
    }
    chosen = {title: laws for title, laws in chosen.items() if laws}
    if not chosen:
        raise InputError(f"--only={options.only} is in no name of a law; docs/results/fuzz.md has the names")
    share = options.cases / sum(law.many for laws in chosen.values() for law in laws)
    results, failed = {}, 0
    for title, laws in chosen.items():
        results[title] = []
        for law in laws:
            outcome = law.execute(math.ceil(law.many * share), options.seed)
            results[title].append((law, outcome))
            failed += bool(outcome.failure)
            said = outcome.failure or "holds"
            print(f"{law.name}: {outcome.cases:,} cases in {outcome.seconds:.0f} s; {said}", file=sys.stderr)
    if page := options.page or (None if options.only or failed else PAGE):
        Path(page).write_text(_page.page_of(results, options.seed), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    flags.define(FuzzOptions)
    flags.run(main)
