"""Continue a prompt: python scripts/sample.py --run_dir=runs/quickstart --prompt='The '"""

import dataclasses
import sys

from lm_keras import flags, quiet
from lm_keras.fields import setting
from lm_keras.sampling.settings import SamplingSettings


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """Which model, which prompt, what to print."""

    run_dir: str | None = setting(None, "folder of the run", path=True)
    checkpoint: str = setting("last", "which weights", choices=("last", "best"))
    prompt: str = setting("", "text to continue; empty: the start of a document")
    prompt_file: str | None = setting(None, "file with the text to continue; -: standard input", path=True)
    interactive: bool = setting(False, "continue every line of standard input, with the model loaded once")
    chat: bool = setting(False, "hold a conversation, whose messages are lines of standard input; /help")
    stream: bool = setting(True, "print one sample while it is generated")
    color: bool = setting(
        False, "on a terminal, colour tokens by probability: green from 1/2, yellow 1/10, magenta 1/100, red"
    )
    jit: str = setting(
        "off", "let XLA compile a token's work: for long texts", choices=("off", "on"), needs=("cache",)
    )
    weights: str = setting(
        "float32", "int8: 8-bit weights, on a CPU", choices=("float32", "int8"), needs=("cache",)
    )
    json: bool = setting(False, "print one JSON object a continuation, with tokens and log-probabilities")


def main() -> None:
    """Read the flags, print prompt and continuation; speed goes to standard error."""
    options, settings = flags.read(SampleOptions), dataclasses.asdict(flags.read(SamplingSettings))
    run_dir = flags.given_run(options.run_dir)
    quiet.import_tensorflow(f"loading {run_dir}")
    from lm_keras import api
    from lm_keras.answers import chat_console
    from lm_keras.sampling import console, prompts

    chat_console.check(options)
    prompt = prompts.given_prompt(options.prompt, options.prompt_file, options.interactive)
    color = options.color and sys.stdout.isatty()
    if options.color and not color:
        print("--color: standard output is not a terminal, so the text has no colours", file=sys.stderr)
    lm = api.load(run_dir, options.checkpoint, options.jit == "on", options.weights)
    how = {"stream": options.stream, "color": color, "as_json": options.json}
    if options.chat:
        chat_console.converse(lm, flags.read_given(SamplingSettings), options.stream)
    elif options.interactive:
        console.converse(lm, settings, **how)
    else:
        console.show(lm, prompt, settings, **how)


if __name__ == "__main__":
    flags.define(SampleOptions, SamplingSettings)
    flags.run(main)
