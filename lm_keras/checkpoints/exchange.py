"""Folders of models as Hugging Face keeps them: config.json, model.safetensors and a tokenizer. Nothing there
is run.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lm_keras.checkpoints import foreign
from lm_keras.checkpoints.copying import CLASSES, Copied, copy_classes, head_of, names_of
from lm_keras.checkpoints.foreign import files as other_files
from lm_keras.checkpoints.foreign.keys import read_values
from lm_keras.checkpoints.foreign.kind import CLASSIFIER
from lm_keras.checkpoints.foreign.tensors import (
    FoundOutput,
    Tensor,
    bytes_in,
    files_of,
    open_tensors,
    output_of,
)  # fmt: skip
from lm_keras.config import Config, from_flat
from lm_keras.data.labels import Labels
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.models.bert import NO_HEAD
from lm_keras.objectives.viterbi import has_spans
from lm_keras.registry import WITH_LABELS
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.model_folder import json_of, read_tokenizer, size_in

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
        label_names: of its head with labels, in its order; empty without one.
    """

    path: Path
    settings: dict[str, Any]
    tokenizer: HuggingFaceTokenizer
    kind: foreign.Kind
    vocab_size: int
    output: FoundOutput
    files: dict[str, str]
    step: int = 0
    label_names: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """Return the settings of a run of it."""
        return from_flat(self.settings)

    @property
    def labels(self) -> Labels | None:
        """Return the labels of a run of it, sorted by name; how often each came in training is not known."""
        if not self.label_names:
            return None
        names = tuple(sorted(self.label_names))
        spans = self.settings["task"] == "tagging" and has_spans(names)
        return Labels(names, (0,) * len(names), spans)

    def build(self) -> keras.Model:
        """Build the network and give it the weights.

        Raises:
            InputError: a tensor is missing, is one too many, has another shape or is not finite; or a file is
                damaged.
        """
        config, family, outputs = self.config, self.kind.family, len(self.label_names) or None
        needed, there = 4 * NUM_PARAMETERS[family](config, self.vocab_size, outputs), self.most_weights
        # Before memory is taken for what a config.json says.
        if needed > 4 * there + 2**20:
            raise InputError(f"{self.path} asks for {needed:,} bytes of weights, and there are {there:,}")
        model = FAMILIES[family](config, self.vocab_size, outputs)
        copied = self.copy_to(model, self.labels)
        if outputs and copied.new:
            raise InputError(f"{self.path}: the tensors of {', '.join(copied.new)} are missing")
        return model

    @property
    def most_weights(self) -> int:
        """Return how many numbers the weights can be: each has a byte at least."""
        return bytes_in(self.path)

    def tensors(self) -> contextlib.AbstractContextManager[dict[str, Tensor]]:
        """Open the files with the weights; see `open_tensors`."""
        return open_tensors(self.path, self.kind)

    def files_left_out(self) -> list[str]:
        """Return the names of files that are neither read nor written back."""
        return other_files.left_out(self.path, files_of(self.path))

    def copy_to(self, model: keras.Model, labels: Labels | None = None) -> Copied:
        """Copy the weights into a network of these settings; it may have a head that is missing there.

        Args:
            model: the network.
            labels: of its head, if that has labels. One that is known there, too, keeps its weights.
        """
        variables, names = names_of(model), self.output.names
        parts = {part.variable: part for part in self.kind.parts(self.config, self.vocab_size)}
        with self.tensors() as tensors:
            of_labels = self._parts_of_labels(tensors)
            wanted = {name for part in parts.values() for name in part.tensors}
            read = {names.get(name, name) for name in wanted}
            known = wanted | read | ({self.kind.output} if self.output.tied else set())
            known |= {name for part in of_labels.values() for name in part.tensors}
            known |= self._copies(tensors)
            for name in sorted(tensors.keys() - known):
                if not (self.kind.is_buffer(name) or self.kind.is_unused(name)):
                    raise InputError(f"{self.path}: the tensor {name!r} belongs to no such network")
            for name in sorted(read - tensors.keys()):
                raise InputError(f"{self.path}: the tensor {name!r} is missing")
            there, new_labels = parts | of_labels, ()
            for path, variable in variables.items():
                if path in CLASSES and path in there:
                    value = self._joined(there[path], tensors, variable.shape)
                    shared = copy_classes(value, variable, self.label_names, labels.names)
                    new_labels = tuple(name for name in labels.names if name not in shared) if shared else ()
                    there = there if shared else {name: there[name] for name in there if name not in CLASSES}
                elif path in there:
                    variable.assign(self._joined(there[path], tensors, variable.shape))
        new = [path for path in variables if path not in there]
        if wrong := [path for path in new if path not in head_of(model)]:
            raise InputError(f"{self.path}: the weight {wrong[0]} is missing, and it belongs to no head")
        left = [path for path in parts if path not in variables]
        return Copied(tuple(new), tuple(left), new_labels=new_labels)

    def _copies(self, tensors: dict[str, Tensor]) -> set[str]:
        """Return the names of tensors that are copies of others; raise InputError if one is not."""
        found = {name: original for name, original in self.kind.copies.items() if name in tensors}
        for name, original in found.items():
            if original in tensors and not tensors[name].equals(tensors[original]):
                raise InputError(
                    f"{self.path}: the tensor {name!r} differs from {original!r}; here they are one"
                )
        return set(found)

    def _parts_of_labels(self, tensors: dict[str, Tensor]) -> dict[str, foreign.Part]:
        """Return the parts of heads with labels that are there, by our names."""
        if self.kind.classes is None:
            return {}
        parts = self.kind.classes(self.config, len(self.label_names))
        parts = [part for part in parts if self.label_names or part.variable not in CLASSES]
        return {part.variable: part for part in parts if all(name in tensors for name in part.tensors)}

    def remarks_for(self, config: Config) -> list[str]:
        """Return what a user should know of it, in lines.

        Args:
            config: of the run that it becomes, or that begins with it.
        """
        lines = list(self.output.remarks)
        pooled = config.model.has("masked_lm") and config.pooling == "first"
        with self.tensors() as tensors:
            used = {name for part in self._parts_of_labels(tensors).values() for name in part.tensors}
            unused = [name for name in sorted(tensors) if self.kind.is_unused(name)]
        unused = [name for name in unused if not (pooled and name in used)]
        if unused:
            lines.append(f"left out, since nothing here uses them: {', '.join(unused)}")
        if others := self.files_left_out():
            more = f" and {len(others) - MOST_NAMES} more" if len(others) > MOST_NAMES else ""
            lines.append(
                f"files that are neither read nor written back: {', '.join(others[:MOST_NAMES])}{more}"
            )
        if names := other_files.templates_not_taken(self.files):
            lines.append(f"no chat template is taken: of {', '.join(names)} none is called default")
        ends = other_files.end_tokens(self.files)
        if ends and self.tokenizer.eod_id not in ends:
            lines.append(
                f"here a text ends at the token {self.tokenizer.eod_id}, too; the library ends it at "
                f"{' and '.join(map(str, ends))} only"
            )
        if not self.config.model.prediction_head and config.task not in WITH_LABELS:
            lines.append(NO_HEAD)
        return lines

    def _joined(self, part: foreign.Part, tensors: dict[str, Tensor], shape: tuple) -> np.ndarray:
        values = []
        for name, width in zip(part.tensors, part.widths, strict=True):
            expected = (1, width) if part.as_row else (*shape[:-1], width)
            tensor = tensors[self.output.names.get(name, name)]
            value = tensor.read(expected[::-1] if part.transposed else expected)
            values.append(value[0] if part.as_row else value.T if part.transposed else value)
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
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else None
    task = next((ours for ours, theirs in kind.tasks.items() if theirs == architecture), None)
    settings |= {"task": task} if task else {}
    if from_flat(settings).needs_mask and tokenizer.mask_id is None:
        raise InputError(f"the vocabulary of {folder} has no [MASK], which a BERT was trained with")
    with open_tensors(folder, kind) as tensors:
        headless = kind.head is not None and not any(name.startswith(kind.head) for name in tensors)
        output = (
            FoundOutput(settings["tie_embeddings"], {})
            if headless
            else output_of(tensors, kind, settings["tie_embeddings"])
        )
        has_labels = CLASSIFIER in tensors
    settings |= {"tie_embeddings": output.tied} | ({"prediction_head": False} if headless else {})
    if task and not has_labels:
        raise InputError(
            f"config.json of {folder} names {architecture}, and the tensor {CLASSIFIER!r} is missing"
        )
    names = label_names(config) if task else ()
    files = other_files.kept_files(folder)
    return Imported(folder, settings, tokenizer, kind, vocab_size, output, files, label_names=names)


def label_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the labels of a config.json, in the order of its head.

    Raises:
        InputError: they are not names by number from 0 on, or too few.
    """
    found = config.get("id2label")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise InputError(
            f"config.json has {config['problem_type']!r} for 'problem_type'; known is one label for each text"
        )
    if found is None:
        found = {str(number): f"LABEL_{number}" for number in range(2)}  # What a missing key means there.
    names = [found.get(str(number)) for number in range(len(found))] if isinstance(found, dict) else []
    if len(names) < 2 or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(
            "config.json has no 'id2label' with the names of two or more labels by number, from '0' on, each "
            "once"
        )
    return tuple(names)
