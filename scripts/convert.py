"""Exchange models with Hugging Face and llama.cpp: scripts/convert.py --from_hf=FOLDER --run_dir=runs/a"""

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
    from_gguf: str | None = setting(None, "GGUF file; --run_dir becomes a run of it", path=True)
    to_gguf: str | None = setting(
        None, "GGUF file to write the run in --run_dir to, for llama.cpp to load", path=True
    )
    gguf_type: str = setting("f16", "numbers of --to_gguf", choices=("f32", "f16", "q8_0"))
    run_dir: str | None = setting(None, "folder of the run", path=True)
    checkpoint: str = setting("last", "which weights of the run to write", choices=("last", "best"))


def main() -> int:
    """Read the flags and convert."""
    options = flags.read(ConvertOptions)
    source, target = options.from_hf or options.from_gguf, options.to_hf or options.to_gguf
    if sum(map(bool, (options.from_hf, options.from_gguf, options.to_hf, options.to_gguf))) != 1:
        raise InputError(
            "give one of --from_hf=FOLDER and --from_gguf=FILE, to make a run, and --to_hf=FOLDER and "
            "--to_gguf=FILE, to write one"
        )
    run_dir = options.run_dir if source and options.run_dir else flags.given_run(options.run_dir)
    quiet.import_tensorflow()
    from lm_keras.training import conversion

    if source:
        (conversion.to_run if options.from_hf else conversion.gguf_to_run)(source, run_dir)
    elif options.to_hf:
        conversion.from_run(run_dir, options.checkpoint, target)
    else:
        conversion.gguf_from_run(run_dir, options.checkpoint, target, options.gguf_type)
    return 0


if __name__ == "__main__":
    flags.define(ConvertOptions)
    flags.run(main)
