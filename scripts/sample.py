"""Continue a prompt with a trained model: python scripts/sample.py --run_dir=runs/quickstart --prompt='The '"""

import dataclasses
import sys
import time

from lm_keras import flags, quiet
from lm_keras.fields import setting
from lm_keras.sampling.settings import SamplingSettings


@dataclasses.dataclass(frozen=True)
class Options:
    """Which model, which prompt."""

    run_dir: str | None = setting(None, "folder of the run")
    checkpoint: str = setting("last", "which weights", choices=("last", "best"))
    prompt: str = setting("", "text to continue; empty: the start of a document")
    stream: bool = setting(True, "print one sample while it is generated")


def main() -> int:
    """Read the flags, print prompt and continuation; speed goes to standard error."""
    options, settings = flags.read(Options), dataclasses.asdict(flags.read(SamplingSettings))
    run_dir = flags.given_run(options.run_dir)
    quiet.import_tensorflow()
    from lm_keras import api

    lm = api.load(run_dir, options.checkpoint)
    unknown = lm.unknown_parts(options.prompt)
    if unknown:
        print(f"the model does not know {', '.join(map(repr, unknown))} of the prompt", file=sys.stderr)
    began = time.perf_counter()
    if options.stream and settings["num_samples"] == 1:
        sys.stdout.write(options.prompt)
        sys.stdout.flush()
        for piece in lm.stream(options.prompt, **settings):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
    else:
        texts = lm.generate([options.prompt], **settings)
        sys.stdout.write("\n---\n".join(options.prompt + text for text in texts) + "\n")
    seconds = time.perf_counter() - began
    tokens = lm.tokens_generated
    print(
        f"{tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} a second, compiling included",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    flags.define(Options, SamplingSettings)
    flags.run(main)
