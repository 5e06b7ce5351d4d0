"""Measure: python scripts/benchmark.py feed (or tokenize, preparation, preflight, guards, baselines --run_dir=RUN)"""

import dataclasses
import json
from collections.abc import Iterator

from lm_keras import flags, quiet
from lm_keras.fields import setting

COMMANDS = ("feed", "baselines", "tokenize", "preparation", "preflight", "guards")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    run_dir: str | None = setting(None, "baselines: folder of the run whose text is measured")
    split: str = setting("valid", "baselines: part of the text", choices=("train", "valid", "test"))
    sequence_length: int = setting(256, "feed: tokens in a row", low=1)
    batch_size: int = setting(256, "feed: rows in a batch", low=1)
    repeats: int = setting(5, "feed, tokenize, guards: measurements of each kind, in turn", low=1)
    corpus: str = setting("python-docs", "tokenize: text to encode, such as text:GLOB")
    gigabytes: float = setting(2.0, "preparation: size of the text that is generated, in 10^9 bytes", above=0)
    table: bool = setting(False, "print a Markdown table instead of JSON objects")


def main(command: str) -> int:
    """Carry out one measurement and print a JSON object, or a row of a table, for each result."""
    options = flags.read(Options)
    for number, result in enumerate(measured(command, options)):
        if options.table and not number:
            print(f"| {' | '.join(result)} |\n|{'---|' * len(result)}")
        row = f"| {' | '.join(map(str, result.values()))} |" if options.table else json.dumps(result)
        print(row, flush=True)
    return 0


def measured(command: str, options: Options) -> Iterator[dict]:
    """Return the results as they come."""
    from lm_keras.training import text_benchmark

    if command == "tokenize":
        return text_benchmark.tokenize(options.corpus, options.repeats)
    if command == "preparation":
        return text_benchmark.preparation(options.gigabytes)
    run_dir = flags.given_run(options.run_dir) if command == "baselines" else None
    quiet.import_tensorflow()
    from lm_keras.training import benchmark, guard_benchmark, verification

    return {
        "feed": lambda: benchmark.feed(options.sequence_length, options.batch_size, options.repeats),
        "guards": lambda: guard_benchmark.guards(options.repeats),
        "preflight": verification.comparisons,
        "baselines": lambda: benchmark.baselines(run_dir, options.split),
    }[command]()


if __name__ == "__main__":
    flags.define(Options)
    flags.run(main, COMMANDS)
