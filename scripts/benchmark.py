"""Measure: python scripts/benchmark.py feed, baselines --run_dir=runs/quickstart, or preflight --table"""

import dataclasses
import json
import sys

from lm_keras import InputError, flags, quiet
from lm_keras.config import setting

COMMANDS = ("feed", "baselines", "preflight")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    run_dir: str | None = setting(None, "baselines: folder of the run whose text is measured")
    split: str = setting("valid", "baselines: part of the text", choices=("train", "valid", "test"))
    sequence_length: int = setting(256, "feed: tokens in a row", low=1)
    batch_size: int = setting(256, "feed: rows in a batch", low=1)
    repeats: int = setting(5, "feed: measurements of each kind, in turn", low=1)
    table: bool = setting(False, "print a Markdown table instead of JSON objects")


def main(command: str) -> int:
    """Carry out one measurement and print a JSON object, or a row of a table, for each result."""
    options = flags.read(Options)
    quiet.import_tensorflow()
    from lm_keras.training import benchmark, verification

    if command == "feed":
        results = benchmark.feed(options.sequence_length, options.batch_size, options.repeats)
    elif command == "preflight":
        results = verification.comparisons()
    elif options.run_dir:
        results = benchmark.baselines(options.run_dir, options.split)
    else:
        raise InputError(
            "--run_dir is missing: expected the folder of a run, such as --run_dir=runs/quickstart"
        )
    for number, result in enumerate(results):
        if options.table and not number:
            sys.stdout.write(f"| {' | '.join(result)} |\n|{'---|' * len(result)}\n")
        row = f"| {' | '.join(map(str, result.values()))} |" if options.table else json.dumps(result)
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    flags.define(Options)
    flags.run(main, COMMANDS)
