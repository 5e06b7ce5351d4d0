"""Folders of models as Hugging Face keeps them: config.json, model.safetensors and a tokenizer. Nothing there
is run.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from lm_keras.checkpoints import foreign
from lm_keras.checkpoints.copying import Copied, head_of, names_of
from lm_keras.checkpoints.foreign import files as other_files
from lm_keras.checkpoints.foreign.keys import read_values
from lm_keras.checkpoints.foreign.tensors import (
    WEIGHTS,
    Output,
    Tensor,
    bytes_in,
    files_of,
    open_tensors,
    output_of,
)  # fmt: skip
from lm_keras.config import Config, from_flat
from lm_keras.disk.folders import write_folder
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.models.bert import NO_HEAD
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.model_folder import json_of, read_tokenizer, size_in
from lm_keras.text.tokenizer import Tokenizer

MOST_NAMES = 8
"""Names of files that a line repeats."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model of another project.

    Attributes:
        path: its folder.
        settings: of ours, by flag, that make such a network.
        tokenizer: the one that it was trained with.
        kind: its family there.
        vocab_size: V.
        output: where its output matrix is read from.
        files: those that a run keeps, by name, so that they can be written back.
        step: 0; its steps are not known.
    """

    path: Path
    settings: dict[str, Any]
    tokenizer: HuggingFaceTokenizer
    kind: foreign.Kind
    vocab_size: int
    output: Output
    files: dict[str, str]
    step: int = 0

    @property
    def config(self) -> Config:
        """Return the settings of a run of it."""
        return from_flat(self.settings)

    def build(self) -> keras.Model:
        """Build the network and give it the weights.

        Raises:
            InputError: a tensor is missing, is one too many, has another shape or is not finite; or a file is
                damaged.
        """
        config, family = self.config, self.kind.family
        needed, there = 4 * NUM_PARAMETERS[family](config, self.vocab_size), bytes_in(self.path)
        # Before memory is taken for what a config.json says; a number has a byte at least.
        if needed > 4 * there + 2**20:
            raise InputError(
                f"config.json of {self.path} asks for {needed:,} bytes of weights, and there are {there:,}"
            )
        model = FAMILIES[family](config, self.vocab_size)
        self.copy_to(model)
        return model

    def copy_to(self, model: keras.Model) -> Copied:
        """Copy the weights into a network of these settings; it may have a head that is missing there."""
        variables, names = names_of(model), self.output.names
        parts = {part.variable: part for part in self.kind.parts(self.config, self.vocab_size)}
        with open_tensors(self.path, self.kind) as tensors:
            wanted = {name for part in parts.values() for name in part.tensors}
            read = {names.get(name, name) for name in wanted}
            known = wanted | read | ({self.kind.output} if self.output.tied else set())
            for name in sorted(tensors.keys() - known):
                if not (self.kind.is_buffer(name) or self.kind.is_unused(name)):
                    raise InputError(f"{self.path}: the tensor {name!r} belongs to no such network")
            for name in sorted(read - tensors.keys()):
                raise InputError(f"{self.path}: the tensor {name!r} is missing")
            for path, variable in variables.items():
                if path in parts:
                    variable.assign(self._joined(parts[path], tensors, variable.shape))
        new = [path for path in variables if path not in parts]
        if wrong := [path for path in new if path not in head_of(model)]:
            raise InputError(f"{self.path}: the weight {wrong[0]} is missing, and it belongs to no head")
        return Copied(tuple(new))

    @property
    def remarks(self) -> list[str]:
        """Return what a user should know of it, in lines."""
        lines = list(self.output.remarks)
        with open_tensors(self.path, self.kind) as tensors:
            unused = [name for name in sorted(tensors) if self.kind.is_unused(name)]
        if unused:
            lines.append(f"left out, since nothing here uses them: {', '.join(unused)}")
        if others := other_files.left_out(self.path, files_of(self.path)):
            more = f" and {len(others) - MOST_NAMES} more" if len(others) > MOST_NAMES else ""
            lines.append(
                f"files that are neither read nor written back: {', '.join(others[:MOST_NAMES])}{more}"
            )
        ends = other_files.end_tokens(self.files)
        if set(ends) - {self.tokenizer.eod_id}:
            lines.append(
                f"here a text ends at the token {self.tokenizer.eod_id} only; the library ends it at "
                f"{' and '.join(map(str, ends))}"
            )
        if not self.config.model.prediction_head:
            lines.append(NO_HEAD)
        return lines

    def _joined(self, part: foreign.Part, tensors: dict[str, Tensor], shape: tuple) -> np.ndarray:
        values = []
        for name, width in zip(part.tensors, part.widths, strict=True):
            expected = (*shape[:-1], width)
            tensor = tensors[self.output.names.get(name, name)]
            value = tensor.read(expected[::-1] if part.transposed else expected)
            values.append(value.T if part.transposed else value)
        return np.concatenate(values, -1)


def is_foreign(folder: Path) -> bool:
    """Tell whether a folder holds a model of another project, by its config.json."""
    try:
        return "model_type" in json_of(folder / "config.json")
    except InputError:
        return False


def read(folder: Path) -> Imported:
    """Read what a folder holds, but for the weights.

    Raises:
        InputError: a file is missing or damaged, or the network is one that does not exist here.
    """
    other_files.check_folder(folder)
    config = json_of(folder / other_files.CONFIG)
    kind = foreign.kind_of(config)
    config = {"vocab_size": kind.default("vocab_size"), **config}
    vocab_size, values = size_in(config), read_values(config, kind.keys)
    settings = kind.settings(values)
    tokenizer = read_tokenizer(folder, vocab_size)
    if tokenizer is None:
        raise InputError(
            f"{folder} has no tokenizer: expected tokenizer.json, vocab.json and merges.txt, vocab.txt, or"
            " tokenizer.model"
        )
    if from_flat(settings).needs_mask and tokenizer.mask_id is None:
        raise InputError(f"the vocabulary of {folder} has no [MASK], which a BERT was trained with")
    with open_tensors(folder, kind) as tensors:
        headless = kind.head is not None and not any(name.startswith(kind.head) for name in tensors)
        output = (
            Output(settings["tie_embeddings"], {})
            if headless
            else output_of(tensors, kind, settings["tie_embeddings"])
        )
    settings |= {"tie_embeddings": output.tied} | ({"prediction_head": False} if headless else {})
    return Imported(folder, settings, tokenizer, kind, vocab_size, output, other_files.kept_files(folder))


def write(
    folder: Path,
    model: keras.Model,
    config: Config,
    tokenizer: Tokenizer,
    files: dict[str, str] | None = None,
) -> list[str]:
    """Write a network as a folder that `transformers` loads.

    Args:
        folder: it may not exist yet.
        model: the network.
        config: the settings of its run.
        tokenizer: its tokenizer; only one that came from such a folder can be written.
        files: those that the run kept of the folder that it began with; they come back.

    Returns:
        What a user should know of it, in lines.

    Raises:
        InputError: the folder exists or cannot be written, or there is no such network there.
    """
    name, kind = foreign.kind_for(config)
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another folder, or delete that one")
    tensors, files = _tensors_of(model, kind, config), files or {}
    original = other_files.object_in(files.get(other_files.CONFIG, "{}"))
    content = foreign.config_of(original, kind, config, model.vocab_size, tokenizer)
    made = dict(getattr(tokenizer, "foreign_files", {}))
    if files and isinstance(tokenizer, HuggingFaceTokenizer):
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
        other_files.write_files(path, files)
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


def _tensors_of(model: keras.Model, kind: foreign.Kind, config: Config) -> dict[str, np.ndarray]:
    """Return the weights of a network under the names that they have there."""
    variables = {path: np.array(variable) for path, variable in names_of(model).items()}
    tensors = {}
    for part in kind.parts(config, model.vocab_size):
        value = variables.get(part.variable)
        if value is None:  # A bias that ours does without.
            value = np.zeros(sum(part.widths), np.float32)
        for tensor, piece in zip(part.tensors, np.split(value, np.cumsum(part.widths)[:-1], -1), strict=True):
            tensors[kind.full(tensor)] = np.ascontiguousarray(piece.T if part.transposed else piece)
    if kind.bias and not config.model.tied and kind.bias[0] in tensors:
        tensors[kind.bias[1]] = tensors[kind.bias[0]].copy()
    return tensors
