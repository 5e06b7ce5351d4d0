"""Plant secrets, train with and without privacy, and look for them: python scripts/canary.py"""

import dataclasses

from lm_keras import flags, quiet
from lm_keras.fields import setting


@dataclasses.dataclass(frozen=True)
class CanaryOptions:
    """What is trained, and where the results go."""

    output_dir: str = setting("runs/canary", "folder of the runs, results.json and exposure.png", path=True)
    epsilons: str = setting("inf,8,1", "privacy of each run, with commas; inf: none")
    steps: int = setting(500, "optimizer steps of each run", low=1)
    documents: int = setting(2000, "documents of 63 characters without a secret", low=100)
    seed: int = setting(1, "of secrets, text and first weights", low=0)
    page: str | None = setting(None, "Markdown page whose table of exposures is written again", path=True)


def main() -> None:
    """Train, attack and report."""
    options = flags.read(CanaryOptions)
    quiet.import_tensorflow()
    from benchmarks import canary, marked

    if options.page:
        marked.check(options.page, canary.MARK)
    results = canary.attacked(options)
    table = canary.table(results)
    print(table)
    if options.page:
        marked.write(options.page, canary.MARK, table)


if __name__ == "__main__":
    flags.define(CanaryOptions)
    flags.run(main)
