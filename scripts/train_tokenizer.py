"""Learn a tokenizer: python scripts/train_tokenizer.py --corpus='text:*.txt' --output_dir=tokenizers/own"""

import dataclasses
import sys

from lm_keras import InputError, config, flags, paths
from lm_keras.fields import setting


@dataclasses.dataclass(frozen=True)
class TrainTokenizerOptions:
    """Where the tokenizer goes."""

    output_dir: str | None = setting(
        None, "folder for the tokenizer; one that is there is never overwritten", path=True
    )


def main() -> int:
    """Learn what a run with the same settings would learn, save it, and print what it is."""
    options, settings = flags.read(TrainTokenizerOptions), config.Config(data=flags.read(config.DataConfig))
    if not options.output_dir:
        raise InputError(
            "--output_dir is missing: expected a folder for the tokenizer, such as"
            " --output_dir=tokenizers/first"
        )
    from lm_keras.data import preparation

    made = preparation.save_tokenizer(
        settings.data, options.output_dir, lambda line: print(line, file=sys.stderr)
    )
    sys.stdout.write(
        f"{made['kind']} tokenizer: {made['vocab_size']:,} tokens in the vocabulary,"
        f" {made['tokens_per_byte']} tokens a byte of the training text, fingerprint {made['fingerprint']}\n"
    )
    print(f"next: scripts/train.py --tokenizer={paths.as_word(options.output_dir)} ...", file=sys.stderr)
    return 0


if __name__ == "__main__":
    flags.define(config.DataConfig, TrainTokenizerOptions)
    flags.run(main)
