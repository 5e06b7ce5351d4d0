"""Learn public, then private text with several epsilons: scripts/private_fine_tuning.py --data=DIR"""

import dataclasses

from lm_keras import flags, quiet
from lm_keras.fields import setting


@dataclasses.dataclass(frozen=True)
class PrivateFineTuningOptions:
    """What is trained, and where the results go."""

    data: str | None = setting(None, "folder with wikitext-2 (public) and multi30k (private)", path=True)
    output_dir: str = setting("runs/private_fine_tuning", "folder of the runs and of results.json", path=True)
    epsilons: str = setting("inf,8,3,1", "privacy of each run, with commas; inf: none")
    public_steps: int = setting(2000, "optimizer steps of the public run", low=1)
    steps: int = setting(300, "optimizer steps of each private run", low=1)
    seed: int = setting(1, "of first weights", low=0)
    page: str | None = setting(None, "Markdown page whose table is written again", path=True)


def main() -> None:
    """Train and report."""
    options = flags.read(PrivateFineTuningOptions)
    quiet.import_tensorflow()
    from benchmarks import fine_tuning, marked

    if options.page:
        marked.check(options.page, fine_tuning.MARK)
    table = fine_tuning.table(fine_tuning.trained(options))
    print(table)
    if options.page:
        marked.write(options.page, fine_tuning.MARK, table)


if __name__ == "__main__":
    flags.define(PrivateFineTuningOptions)
    flags.run(main)
