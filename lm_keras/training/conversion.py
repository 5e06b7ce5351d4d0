"""Models of other projects become runs, and runs become models of other projects."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from lm_keras import paths
from lm_keras.checkpoints import exchange, export
from lm_keras.checkpoints.gguf import reading, writing
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import RunOptions, from_flat
from lm_keras.errors import InputError
from lm_keras.flagfiles import flagfile_of
from lm_keras.surroundings import with_usual_settings
from lm_keras.training import report
from lm_keras.training.weights import restore_for_reading


@with_usual_settings
def to_run(source: str, run_dir: str) -> None:
    """Make a run of a model's folder, with the weights as its only checkpoint, at step 0.

    Args:
        source: a folder with config.json, model.safetensors and a tokenizer.
        run_dir: the folder of the new run.

    Raises:
        InputError: the model cannot be read or does not exist here, or there is a run already.
    """
    _write_run(lambda: exchange.read(Path(source)), run_dir)


@with_usual_settings
def gguf_to_run(source: str, run_dir: str) -> None:
    """Make a run of a GGUF file, as `to_run` makes one of a folder."""
    _write_run(lambda: reading.read(Path(source)), run_dir)


def _write_run(read: Callable[[], exchange.Imported], run_dir: str) -> None:
    folder = RunFolder(run_dir)
    if folder.exists or any(folder.checkpoints().steps()):
        raise InputError(f"--run_dir={run_dir} holds a run already; choose another folder")
    imported = read()
    model, tokenizer = imported.build(), imported.tokenizer
    config = from_flat({**imported.settings, "tokenizer": paths.spelled(folder.path / "tokenizer")})
    data = {
        "splits": {},
        "total_steps": 0,
        "vocab_size": tokenizer.vocab_size,
        "bad_text": {},
        "tokenizer": {"kind": tokenizer.name, "fingerprint": tokenizer.fingerprint()},
    }
    with folder.writing():
        # Of a conversion that was killed before it wrote config.json, which makes the folder a run.
        shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
        folder.checkpoints().save(0, {"model": model.variables}, {})
        tokenizer.save(folder.path / "tokenizer")
        folder.keep_files(imported.files)
        folder.write_labels(imported.labels)
        folder.write_json("data.json", data)
        settings = {**dataclasses.asdict(RunOptions(run_dir=run_dir)), **config.flat()}
        folder.write_text("flags.txt", flagfile_of(settings))
        folder.write_text("README.md", report.model_card(config, data, tokenizer.chat_template is not None))
        folder.write_json("config.json", config.flat())
    report.say(f"{config.model.model} with {model.count_params():,} parameters in {run_dir}")
    for line in imported.remarks_for(config):
        report.say(line)


@with_usual_settings
def from_run(run_dir: str, checkpoint: str, target: str) -> None:
    """Write the weights of a run as a folder that `transformers` loads.

    Args:
        run_dir: the folder of the run.
        checkpoint: `last` or `best`.
        target: the new folder.

    Raises:
        InputError: the folder holds no run, it has no counterpart there, or the folder exists.
    """
    folder = RunFolder(run_dir)
    config = folder.config()
    model, _ = restore_for_reading(folder, checkpoint, report.say)
    kept = folder.tokenizer(), folder.kept_files, folder.labels()
    for line in export.write(Path(target), model, config, *kept):
        report.say(line)


@with_usual_settings
def gguf_from_run(run_dir: str, checkpoint: str, target: str, gguf_type: str) -> None:
    """Write the weights of a run as a GGUF file.

    Args:
        run_dir: the folder of the run.
        checkpoint: `last` or `best`.
        target: the new file.
        gguf_type: of the numbers, `f32`, `f16` or `q8_0`.

    Raises:
        InputError: there is no run, it has no counterpart there, or the file exists.
    """
    folder = RunFolder(run_dir)
    config = folder.config()
    model, _ = restore_for_reading(folder, checkpoint, report.say)
    kept = folder.tokenizer(), folder.kept_files
    for line in writing.write(Path(target), gguf_type, model, config, *kept):
        report.say(line)
