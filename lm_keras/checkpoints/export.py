"""A network written as a folder that `transformers` loads; `exchange.py` reads such folders."""

import json
from pathlib import Path

import keras
import numpy as np
import safetensors
import safetensors.numpy

from lm_keras.checkpoints import foreign
from lm_keras.checkpoints.copying import names_of
from lm_keras.checkpoints.foreign import files as other_files
from lm_keras.checkpoints.foreign.tensors import WEIGHTS
from lm_keras.config import Config
from lm_keras.data.labels import Labels
from lm_keras.disk.folders import write_folder
from lm_keras.errors import InputError
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.tokenizer import Tokenizer


def write(
    folder: Path,
    model: keras.Model,
    config: Config,
    tokenizer: Tokenizer,
    files: dict[str, str] | None = None,
    labels: Labels | None = None,
) -> list[str]:
    """Write a network as a folder that `transformers` loads.

    Args:
        folder: it may not exist yet.
        model: the network.
        config: the settings of its run.
        tokenizer: its tokenizer; only one that came from such a folder can be written.
        files: those that the run kept of the folder that it began with; they come back.
        labels: of the run, if its task has labels.

    Returns:
        What a user should know of it, in lines.

    Raises:
        InputError: the folder exists or cannot be written, or the other library has no such network.
    """
    original = other_files.object_in((files or {}).get(other_files.CONFIG, "{}"))
    name, kind = foreign.kind_for(config, original.get("model_type"))
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another folder, or delete that one")
    tensors, files = tensors_of(model, kind, config), files or {}
    names = labels.names if labels else ()
    content = foreign.config_of(original, kind, config, model.vocab_size, tokenizer)
    if names:
        content.pop("num_labels", None)  # It follows from the names.
        content["id2label"] = {str(number): name for number, name in enumerate(names)}
        content["label2id"] = {name: number for number, name in enumerate(names)}
    made = dict(getattr(tokenizer, "foreign_files", {}))
    if original and isinstance(tokenizer, HuggingFaceTokenizer):
        # Without a class the library takes that of the model's type, as it did for the folder that the run
        # began with.
        made[other_files.TOKENIZER_CONFIG] = (json.dumps(tokenizer.special_names, indent=1) + "\n").encode()

    def fill(path: Path) -> None:
        try:
            safetensors.numpy.save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:
            raise OSError(None, str(error), str(folder)) from None
        for file, written in made.items():
            (path / file).write_bytes(written)
        other_files.write_files(path, {**files, **other_files.chat_files(files, tokenizer)})
        (path / other_files.CONFIG).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    write_folder(folder, fill, "nothing was written")
    lines = [f"{name} with {model.count_params():,} parameters in {folder}"]
    stored = original.get("dtype") or original.get("torch_dtype") or "float32"
    if stored != "float32":
        lines.append(f"the weights are written as float32; those that the run began with were {stored}")
    if not made:
        lines.append(
            f"its {tokenizer.name} tokenizer has no counterpart there and was not written: encode text with"
            " lm_keras"
        )
    return lines


def tensors_of(model: keras.Model, kind: foreign.Kind, config: Config) -> dict[str, np.ndarray]:
    """Return the weights of a network under the names that they have there."""
    variables = {path: np.array(variable) for path, variable in names_of(model).items()}
    tensors = {}
    parts = kind.parts(config, model.vocab_size)
    if model.num_outputs is not None:
        parts += [part for part in kind.classes(config, model.num_outputs) if part.variable in variables]
    for part in parts:
        value = variables.get(part.variable)
        if value is None:  # A bias that ours does without.
            value = np.zeros(sum(part.widths), np.float32)
        for tensor, piece in zip(part.tensors, np.split(value, np.cumsum(part.widths)[:-1], -1), strict=True):
            piece = piece[None] if part.as_row else piece.T if part.transposed else piece
            tensors[kind.full(tensor)] = np.ascontiguousarray(piece)
    if kind.bias and not config.model.tied and kind.bias[0] in tensors:
        tensors[kind.bias[1]] = tensors[kind.bias[0]].copy()
    return tensors
