"""Measure: python scripts/benchmark.py feed, or python scripts/benchmark.py baselines --run_dir=runs/quickstart"""

import dataclasses
import json
import sys

from lm_keras import InputError, flags, quiet
from lm_keras.config import setting

COMMANDS = ("feed", "baselines")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    run_dir: str | None = setting(None, "baselines: folder of the run whose text is measured")
    split: str = setting("valid", "baselines: part of the text", choices=("train", "valid", "test"))
    sequence_length: int = setting(256, "feed: tokens in a row", low=1)
    batch_size: int = setting(256, "feed: rows in a batch", low=1)
    repeats: int = setting(5, "feed: measurements of each kind, in turn", low=1)


def main(command: str) -> int:
    """Carry out one measurement and print a JSON object for each result."""
    options = flags.read(Options)
    quiet.import_tensorflow()
    from lm_keras.training import benchmark

    if command == "feed":
        results = benchmark.feed(options.sequence_length, options.batch_size, options.repeats)
    elif options.run_dir:
        results = benchmark.baselines(options.run_dir, options.split)
    else:
        raise InputError(
            "--run_dir is missing: expected the folder of a run, such as --run_dir=runs/quickstart"
        )
    for result in results:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    flags.define(Options)
    flags.run(main, COMMANDS)
