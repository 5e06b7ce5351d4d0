"""Exchange models with Hugging Face: python scripts/convert.py --from_hf=FOLDER --run_dir=runs/gpt2"""

import dataclasses

from lm_keras import InputError, flags, quiet
from lm_keras.fields import setting


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """From where, to where."""

    from_hf: str | None = setting(
        None,
        "folder with config.json, model.safetensors and a tokenizer; --run_dir becomes a run of it",
        path=True,
    )
    to_hf: str | None = setting(
        None, "folder to write the run in --run_dir to, for transformers to load", path=True
    )
    run_dir: str | None = setting(None, "folder of the run", path=True)
    checkpoint: str = setting("last", "which weights of the run to write", choices=("last", "best"))


def main() -> int:
    """Read the flags and convert."""
    options = flags.read(ConvertOptions)
    if bool(options.from_hf) == bool(options.to_hf):
        raise InputError("give one of --from_hf=FOLDER, to make a run, and --to_hf=FOLDER, to write one")
    run_dir = options.run_dir if options.from_hf and options.run_dir else flags.given_run(options.run_dir)
    quiet.import_tensorflow()
    from lm_keras.training import conversion

    if options.from_hf:
        conversion.to_run(options.from_hf, run_dir)
    else:
        conversion.from_run(run_dir, options.checkpoint, options.to_hf)
    return 0


if __name__ == "__main__":
    flags.define(ConvertOptions)
    flags.run(main)
