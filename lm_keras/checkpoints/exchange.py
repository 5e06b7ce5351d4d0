"""Folders of models as Hugging Face keeps them: config.json, model.safetensors and a tokenizer. Nothing there is run."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from lm_keras.checkpoints import foreign
from lm_keras.config import Config, from_flat
from lm_keras.data.folders import write_folder
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.models.bert import NO_HEAD
from lm_keras.text.files import bytes_of, opened
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.model_folder import json_of, read_tokenizer, size_in

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model of another project.

    Attributes:
        path: its folder.
        settings: of ours, by flag, that make such a network.
        tokenizer: the one that it was trained with.
        step: 0; its steps are not known.
    """

    path: Path
    settings: dict[str, Any]
    tokenizer: HuggingFaceTokenizer
    kind: foreign.Kind
    vocab_size: int
    step: int = 0

    @property
    def config(self) -> Config:
        """Return the settings of a run of it."""
        return from_flat(self.settings)

    def build(self) -> keras.Model:
        """Build the network and give it the weights.

        Raises:
            InputError: a tensor is missing, is one too many, has another shape or is not finite; or a file is damaged.
        """
        config, family = self.config, self.kind.family
        needed, there = 4 * NUM_PARAMETERS[family](config, self.vocab_size), self._bytes()
        if (
            needed > 4 * there + 2**20
        ):  # Before memory is taken for what a config.json says; a byte a number at least.
            raise InputError(
                f"config.json of {self.path} asks for {needed:,} bytes of weights, and there are {there:,}"
            )
        model = FAMILIES[family](config, self.vocab_size)
        self.give(model)
        return model

    def give(self, model: keras.Model) -> None:
        """Copy the weights into a network of these settings; it may have a `prediction_head` that is missing there."""
        variables = _by_path(model)
        parts = {part.variable: part for part in self.kind.parts(self.config, self.vocab_size)}
        with self._tensors() as tensors:
            wanted = {name for part in parts.values() for name in part.tensors}
            tied = {self.kind.output} if self.config.model.tied else set()
            for name in sorted(tensors):
                known = name in wanted | tied or self.kind.is_buffer(name) or self.kind.is_unused(name)
                if not known:
                    raise InputError(f"{self.path}: the tensor {name!r} belongs to no such network")
            for name in sorted(wanted):
                if name not in tensors:
                    raise InputError(f"{self.path}: the tensor {name!r} is missing")
            for path, variable in variables.items():
                if path in parts:  # A head that is missing there begins anew.
                    variable.assign(self._joined(parts[path], tensors, variable.shape))

    @functools.cached_property
    def names(self) -> list[str]:
        """Return the short names of all tensors."""
        with self._tensors() as tensors:
            return sorted(tensors)

    @property
    def remarks(self) -> list[str]:
        """Return what a user should know of it, in lines."""
        lines = []
        if unused := [name for name in self.names if self.kind.is_unused(name)]:
            lines.append(f"left out, since nothing here uses them: {', '.join(unused)}")
        if not self.config.model.prediction_head:
            lines.append(NO_HEAD)
        return lines

    def _joined(self, part: foreign.Part, tensors: dict, shape: tuple) -> np.ndarray:
        values = []
        for name, width in zip(part.tensors, part.widths, strict=True):
            expected = (*shape[:-1], width)
            value = tensors[name](expected[::-1] if part.transposed else expected)
            values.append(value.T if part.transposed else value)
        return np.concatenate(values, -1)

    def _bytes(self) -> int:
        try:
            return sum(file.stat().st_size for file in self._files())
        except OSError as error:
            raise InputError(f"cannot read {error.filename}: {error.strerror}") from None

    def _files(self) -> list[Path]:
        if (self.path / WEIGHTS).exists():
            return [self.path / WEIGHTS]
        if not (self.path / INDEX).exists():
            raise InputError(
                f"{self.path} has neither {WEIGHTS} nor {INDEX}; older formats can run code and are not read: save the model "
                "as safetensors"
            )
        try:
            names = set(json.loads(bytes_of(self.path / INDEX)).get("weight_map", {}).values())
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise InputError(f"{self.path / INDEX} is damaged ({error}); restore it from a copy") from None
        for name in names:
            if not isinstance(name, str) or not name.isprintable() or Path(name).name != name or name == "..":
                raise InputError(f"{self.path / INDEX} names {name!r}, which is no file of this folder")
        return [self.path / name for name in sorted(names)]

    @contextlib.contextmanager
    def _tensors(self) -> Iterator[dict[str, Any]]:
        """Open the files; yields a function for each tensor, by its name without prefix, that reads it as float32."""
        with contextlib.ExitStack() as stack:
            found = {}
            for path in self._files():
                try:
                    with opened(path):  # The library would wait for a named pipe for ever.
                        file = stack.enter_context(safetensors.safe_open(path, framework="np"))
                except OSError as error:
                    raise InputError(f"cannot read {path}: {error.strerror or error}") from None
                except safetensors.SafetensorError as error:
                    raise InputError(f"{path} is damaged ({error}); restore it from a copy") from None
                for name in file.keys():  # noqa: SIM118 no dictionary
                    short = self.kind.short(name)
                    if short in found:
                        raise InputError(f"{self.path}: the tensor {short!r} is there twice")
                    found[short] = _reader(file, path, name)
            yield found


def _by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the weights by their path below the network's name."""
    return {v.path.removeprefix(f"{model.name}/"): v for v in model.trainable_variables}


def _reader(file, path: Path, name: str):
    def read(shape: tuple[int, ...]) -> np.ndarray:
        there = file.get_slice(name)
        if tuple(there.get_shape()) != tuple(shape):
            raise InputError(
                f"{path}: the tensor {name!r} has the shape {list(there.get_shape())}, expected {list(shape)}"
            )
        if there.get_dtype() not in ("F64", "F32", "F16", "BF16"):
            raise InputError(
                f"{path}: the tensor {name!r} has numbers of type {there.get_dtype()}, expected floats"
            )
        value = np.asarray(file.get_tensor(name)).astype(np.float32)
        if not np.isfinite(value).all():
            raise InputError(f"{path}: the tensor {name!r} has numbers that are not finite")
        return value

    return read


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
    config = json_of(folder / "config.json")
    kind = foreign.kind_of(config)
    vocab_size, settings = size_in(config), kind.settings(config)
    tokenizer = read_tokenizer(folder)
    if tokenizer is None:
        raise InputError(
            f"{folder} has no tokenizer: expected tokenizer.json, vocab.json and merges.txt, vocab.txt, or tokenizer.model"
        )
    imported = Imported(folder, settings, tokenizer, kind, vocab_size)
    if kind.family == "bert" and tokenizer.blank_id is None:
        raise InputError(f"the vocabulary of {folder} has no [MASK], which a BERT was trained with")
    if kind.head is None or any(name.startswith(kind.head) for name in imported.names):
        return imported
    return dataclasses.replace(imported, settings={**settings, "prediction_head": False})


def write(folder: Path, model: keras.Model, config: Config, tokenizer) -> list[str]:
    """Write a network as a folder that `transformers` loads.

    Args:
        folder: it may not exist yet.
        model: the network.
        config: the settings of its run.
        tokenizer: its tokenizer; only one that came from such a folder can be written.

    Returns:
        What a user should know of it, in lines.

    Raises:
        InputError: the folder exists or cannot be written, or there is no such network there.
    """
    name, kind = foreign.kind_for(config)
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another folder, or delete that one")
    variables = {path: np.array(variable) for path, variable in _by_path(model).items()}
    tensors = {}
    for part in kind.parts(config, model.vocab_size):
        value = variables.get(part.variable)
        value = (
            np.zeros(sum(part.widths), np.float32) if value is None else value
        )  # A bias that ours does without.
        for tensor, piece in zip(part.tensors, np.split(value, np.cumsum(part.widths)[:-1], -1), strict=True):
            tensors[kind.full(tensor)] = np.ascontiguousarray(piece.T if part.transposed else piece)
    content = {**kind.config(config, model.vocab_size, tokenizer), "dtype": "float32"}
    files = getattr(tokenizer, "foreign_files", {})

    def fill(path: Path) -> None:
        (path / "config.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        try:
            safetensors.numpy.save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:
            raise OSError(None, str(error), str(folder)) from None
        for file, written in files.items():
            (path / file).write_bytes(written)

    write_folder(folder, fill, "nothing was written")
    lines = [f"{name} with {model.count_params():,} parameters in {folder}"]
    if not files:
        lines.append(
            f"its {tokenizer.name} tokenizer has no counterpart there and was not written: encode text with lm_keras"
        )
    return lines
