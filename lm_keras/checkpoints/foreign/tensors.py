"""The weights in a model's folder: model.safetensors, or several files and an index. Nothing there is run."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from lm_keras.checkpoints.foreign.kind import Kind
from lm_keras.disk.files import bytes_of, opened
from lm_keras.errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of numbers that are read, as float32."""

OLDER = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
"""Weights in formats that are not read; the first ones can run code."""

ROWS_AT_ONCE = 4096
"""Rows of two matrices that are compared at a time."""


def files_of(folder: Path) -> list[Path]:
    """Return the files with the weights.

    Raises:
        InputError: there are none, or the index is damaged.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.exists():
        raise _no_weights(folder)
    try:
        names = set(json.loads(bytes_of(index)).get("weight_map", {}).values())
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"{index} is damaged ({error}); restore it from a copy") from None
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or Path(name).name != name or name == "..":
            raise InputError(f"{index} names {name!r}, which is not a file of this folder")
    if not names:
        raise InputError(f"{index} names no files; restore it from a copy")
    return [folder / name for name in sorted(names)]


def _no_weights(folder: Path) -> InputError:
    there = [name for name in OLDER if (folder / name).exists()]
    beside = f" beside {there[0]}" if there else ""
    return InputError(
        f"{folder} has neither {WEIGHTS} nor {INDEX}{beside}; older formats can run code and are not read:"
        " save the model as safetensors"
    )


def bytes_in(folder: Path) -> int:
    """Return the size of the files with the weights."""
    try:
        return sum(file.stat().st_size for file in files_of(folder))
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from None


class Tensor(NamedTuple):
    """A tensor of a file that is open.

    Attributes:
        file: it.
        path: of the file.
        name: as the file says it.
    """

    file: Any
    path: Path
    name: str

    def read(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the numbers as float32.

        Raises:
            InputError: it has another shape, numbers that are not floats, or some that are not finite.
        """
        there = self.file.get_slice(self.name)
        if tuple(there.get_shape()) != tuple(shape):
            raise self._wrong(f"the shape {list(there.get_shape())}, expected {list(shape)}")
        if there.get_dtype() not in FLOATS:
            raise self._wrong(
                f"numbers of type {there.get_dtype()}, expected floats of 16 bits or more; save the model"
                " with such weights"
            )
        with np.errstate(over="ignore"):  # What is too large for float32 is not finite then.
            value = np.asarray(self.file.get_tensor(self.name)).astype(np.float32)
        if not np.isfinite(value).all():
            raise self._wrong("numbers that are not finite")
        return value

    def equals(self, other: "Tensor") -> bool:
        """Tell whether two tensors of floats have the same numbers as float32; reads some rows at a time."""
        one, two = self.file.get_slice(self.name), other.file.get_slice(other.name)
        shape = one.get_shape()
        if shape != two.get_shape() or not shape or {one.get_dtype(), two.get_dtype()} - set(FLOATS):
            return False
        for row in range(0, shape[0], ROWS_AT_ONCE):
            rows = slice(row, min(row + ROWS_AT_ONCE, shape[0]))
            if not np.array_equal(*(np.asarray(part[rows]).astype(np.float32) for part in (one, two))):
                return False
        return True

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.path}: the tensor {self.name!r} has {what}")


@contextlib.contextmanager
def open_tensors(folder: Path, kind: Kind) -> Iterator[dict[str, Tensor]]:
    """Open the files with the weights.

    Yields:
        The tensors by their names without prefix.

    Raises:
        InputError: a file cannot be read or is damaged, or a tensor is there twice.
    """
    with contextlib.ExitStack() as stack:
        found = {}
        for path in files_of(folder):
            try:
                with opened(path):  # The library would wait for a named pipe for ever.
                    file = stack.enter_context(safetensors.safe_open(path, framework="np"))
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror or error}") from None
            except safetensors.SafetensorError as error:
                raise InputError(f"{path} is damaged ({error}); restore it from a copy") from None
            for name in file.keys():  # noqa: SIM118 no dictionary
                short = kind.short(name)
                if short in found:
                    raise InputError(f"{folder}: the tensor {short!r} is there twice")
                found[short] = Tensor(file, path, name)
        yield found


class FoundOutput(NamedTuple):
    """Where the output of a network is read from.

    Attributes:
        tied: whether the embedding is the output matrix.
        names: tensors that are read in place of others, by the names of those.
        remarks: what a user should know of it, in lines.
    """

    tied: bool
    names: dict[str, str]
    remarks: tuple[str, ...] = ()


def output_of(tensors: dict[str, Tensor], kind: Kind, tied: bool) -> FoundOutput:
    """Find the output matrix and its bias, which a file may have under two names, as `transformers` does.

    Args:
        tensors: by their short names.
        kind: the family.
        tied: whether config.json says that embedding and output are one matrix.

    Reference: `tie_weights` of transformers' modeling_utils.py: two that differ are not tied, and of two
    names that one counts which is there.
    """
    names, remarks, same = {}, [], tied
    both = kind.embedding in tensors and kind.output in tensors
    if tied and kind.output in tensors and not both:
        names[kind.embedding] = kind.output
    elif tied and both and not tensors[kind.output].equals(tensors[kind.embedding]):
        same = False
        remarks.append(
            f"config.json says that embedding and output are one matrix, but {kind.output} differs from"
            f" {kind.embedding}: both are kept (--tie_embeddings=false)"
        )
    if kind.bias is not None:
        usual, added = kind.bias
        if added in tensors or not tied:
            names[usual] = added
        if usual in tensors and added in tensors and not tensors[usual].equals(tensors[added]):
            remarks.append(f"left out, since {added} is added in its place: {usual}")
    return FoundOutput(same, names, tuple(remarks))
