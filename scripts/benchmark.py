"""Measure: python scripts/benchmark.py train --flagfile=configs/quickstart.flags --peer=torch (or another command)

train       the training step, beside keras_fit and torch     prepare     text to token stores: time and memory
sample      the sampler, beside torch                         tokenize    the tokenizers alone
feed        the pipeline alone                                preflight   the estimates of a dry run against the step
loss        the loss in pieces beside the plain one           guards      what the guard of the step costs
baselines   compressors on the text of --run_dir              page        all of docs/performance.md
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from lm_keras import config, flags, quiet
from lm_keras.fields import setting

COMMANDS = (
    "train", "sample", "feed", "prepare", "tokenize", "preflight", "loss", "guards", "baselines", "page",
)  # fmt: skip


SECTIONS = ("train", "sample", "loss", "growth", "jit", "guards")
ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure; the settings of a run say what."""

    peer: str = setting(
        "", "train, sample: what to measure in turn with it: keras_fit, torch, or both with a comma"
    )
    repeats: int = setting(5, "measurements of each kind, in turn", low=1)
    seconds: float = setting(3.0, "train: length of one measurement", above=0)
    gigabytes: float = setting(2.0, "prepare: size of the text that is generated, in 10^9 bytes", above=0)
    tokenizers: str = setting(
        "char,byte,word,sentencepiece",
        "prepare: which to measure, with commas; sentencepiece with both of its models",
    )
    run_dir: str | None = setting(None, "baselines: folder of the run whose text is measured")
    part: str = setting("valid", "baselines: part of the text", choices=("train", "valid", "test"))
    sections: str = setting(
        ",".join(SECTIONS),
        "page: parts to measure anew, with commas; the others stay as they are, without any it is only written anew",
    )
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
    settings = flags.read_config()
    if command in ("tokenize", "prepare"):
        from lm_keras.benchmarks import text

        if command == "tokenize":
            return text.tokenize(settings.data.corpus, options.repeats)
        return text.preparation(options.gigabytes, options.tokenizers.split(","))
    run_dir = flags.given_run(options.run_dir) if command == "baselines" else None
    quiet.import_tensorflow()
    from lm_keras.benchmarks import baselines, feed, guards, loss, page, sample, train, verification

    peers = [peer for peer in options.peer.split(",") if peer]
    batches = settings.batches
    return {
        "train": lambda: train.train(settings, peers, options.repeats, options.seconds),
        "sample": lambda: sample.sample(settings, peers, options.repeats),
        "feed": lambda: feed.feed(batches.sequence_length, batches.batch_size, options.repeats),
        "loss": lambda: loss.loss(settings, options.repeats),
        "page": lambda: page.write(
            list(filter(None, options.sections.split(","))), options.repeats, options.seconds, ROOT
        ),
        "guards": lambda: guards.guards(options.repeats),
        "preflight": verification.comparisons,
        "baselines": lambda: baselines.baselines(run_dir, options.part),
    }[command]()


if __name__ == "__main__":
    flags.define(*config.GROUPS.values(), Options)
    flags.run(main, COMMANDS)
