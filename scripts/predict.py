"""Label or translate texts: python scripts/predict.py --run_dir=runs/seq2seq_quickstart --input=texts.txt"""

import dataclasses
import sys

from lm_keras import InputError, flags, quiet
from lm_keras.fields import setting
from lm_keras.sampling.pair_settings import PairSettings


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Which model, which texts, how predictions are written."""

    run_dir: str | None = setting(None, "folder of the run", path=True)
    checkpoint: str | None = setting(None, "which weights [best, else last]", choices=("last", "best"))
    input: str = setting("-", "file with a text a record; -: standard input", path=True)
    output: str = setting("-", "file for the predictions; -: standard output", path=True)
    format: str = setting(
        "lines",
        "of predictions, and of texts unless their file is named .tsv, .csv, .jsonl or .conll; lines: labels,"
        " tags of words between white space, targets; jsonl: also probabilities, spans, or all hypotheses",
        choices=("lines", "tsv", "jsonl", "conll"),
    )
    text_field: str | None = setting(None, "field of the text, by name or number [as in training]")
    header: str = setting("auto", "whether a table begins with names", choices=("auto", "yes", "no"))
    too_long: str | None = setting(None, "error, cut_end, cut_start, windows [windows of tags, else cut_end]")
    batch_size: int | None = setting(None, "rows or sources at once [16; sources: 64]", low=1)
    temperature_scaling: bool = setting(False, "divide logits by the temperature that fits validation")
    interactive: bool = setting(False, "answer every line of standard input, with the model loaded once")
    color: bool = setting(True, "on a terminal, colour the spans of --interactive")


def main() -> int:
    """Read the flags, predict and print."""
    options, decoding = flags.read(PredictOptions), flags.read(PairSettings)
    run_dir = flags.given_run(options.run_dir)
    if options.interactive and {options.input, options.output} != {"-"}:
        raise InputError("--interactive reads standard input; leave --input and --output out")
    quiet.import_tensorflow(f"loading {run_dir}")
    from lm_keras import api
    from lm_keras.answers import conversation, prediction_files

    lm = api.load(run_dir, options.checkpoint)
    lm.answer.decode_with(decoding)
    if options.temperature_scaling:
        lm.scale_temperature(lambda line: print(line, file=sys.stderr))
    if options.interactive:
        conversation.converse(lm.answer, options.color and sys.stdout.isatty())
        return 0
    how = {name: getattr(options, name) for name in ("format", "header", "too_long", "batch_size")}
    how |= {"text_field": options.text_field or lm.read_fields[0], "label_field": lm.read_fields[1]}
    prediction_files.predict(lm.answer, options.input, options.output, **how)
    print(f"the weights are those of step {lm.step:,}; --checkpoint=last or best chooses", file=sys.stderr)
    return 0


if __name__ == "__main__":
    flags.define(PredictOptions, PairSettings)
    flags.run(main)
