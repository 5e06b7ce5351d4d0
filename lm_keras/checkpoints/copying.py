"""Weights of one network for another one: the body by name and shape, and a line on all that is
not copied.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from lm_keras.errors import InputError

EMBEDDING = "embedding/embeddings"
"""The table of tokens, [V, E]; a network with more tokens has more rows."""

CLASSES = ("class_kernel", "class_bias")
"""The weights of a head of classes; their last axis are the labels."""

OUTPUTS = ("output_kernel", "output_bias")
"""The weights of a head of the vocabulary beside the embedding; their last axis are the tokens."""

MOST_LABELS = 5
"""Labels that a line repeats."""


@dataclasses.dataclass(frozen=True)
class Copied:
    """What was not copied from one network to another.

    Attributes:
        new: weights of the head, or that the other network need not have, that were not copied, by name.
        left: weights of the old head that nothing takes.
        added: tokens that the old vocabulary lacks.
        removed: tokens of the old vocabulary that the new one lacks, those of its task.
        new_labels: labels that the other network did not know, of a head that knows some.
    """

    new: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    new_labels: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """Return it in words that go on in a line; empty where everything was copied."""
        parts = [f"{', '.join(self.new)} of the head are new"] * bool(self.new)
        parts += [f"the labels {_listed(self.new_labels)} are new"] * bool(self.new_labels)
        parts += [f"{self.added:,} added tokens are new"] * bool(self.added)
        parts += [f"{', '.join(self.left)} of the old head are left out"] * bool(self.left)
        parts += [f"{self.removed:,} tokens of the old task are left out"] * bool(self.removed)
        return "".join(f"; {part}" for part in parts)


def names_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the weights that are learnt, frozen ones too, by their path below the network's name."""
    learnt = [v for v in model.weights if len(v.shape)]  # Rates of dropout are scalars.
    return {v.path.removeprefix(f"{model.name}/"): v for v in learnt}


def head_of(model: keras.Model) -> set[str]:
    """Return the names of the weights that belong to the network's head."""
    return _named(model, model.head_weights)


def _named(model: keras.Model, weights: Sequence[keras.Variable]) -> set[str]:
    chosen = {id(variable) for variable in weights}
    return {name for name, variable in names_of(model).items() if id(variable) in chosen}


def copy_weights(
    trained: keras.Model,
    model: keras.Model,
    there_labels: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Copied:
    """Copy the body of a network into another one, and of its head what has the same name and shape.

    Args:
        trained: the network whose weights are copied.
        model: the new network. It may have another head, and other tokens behind those of the text.
        there_labels, labels: of the heads of both networks, where they have classes. A label that both know
            keeps its weights, wherever it stands.

    Raises:
        InputError: the bodies do not match.
    """
    there, here = names_of(trained), names_of(model)
    may_be_new = head_of(model) | _named(model, model.optional_weights)
    left = [name for name in there if name not in here]
    may_be_left = head_of(trained) | _named(trained, trained.optional_weights)
    if wrong := [name for name in left if name not in may_be_left]:
        raise InputError(f"the bodies do not match: the weight {wrong[0]} there has no place here")
    new, rows, new_labels = [], 0, ()
    for name, variable in here.items():
        old = there.get(name)
        if name in CLASSES and old is not None and there_labels is not None and labels is not None:
            known = copy_classes(old, variable, there_labels, labels)
            new_labels = tuple(label for label in labels if label not in known) if known else ()
            new += [name] * (not known)
        elif old is not None and old.shape == variable.shape:
            variable.assign(old)
        elif name in OUTPUTS and old is not None and _is_wider(old, variable):
            variable.assign(np.concatenate([old.numpy(), variable.numpy()[..., old.shape[-1] :]], -1))
        elif name in may_be_new:
            new.append(name)
        elif name == EMBEDDING and old is not None and _fits(old, variable, model):
            rows = variable.shape[0] - old.shape[0]
            same = min(variable.shape[0], old.shape[0])
            variable.assign(np.concatenate([old.numpy()[:same], variable.numpy()[same:]]))
        else:
            found = "is missing there" if old is None else f"has the shape {tuple(old.shape)} there"
            raise InputError(
                f"the bodies do not match: the weight {name} {found}, and {tuple(variable.shape)} here"
            )
    return Copied(tuple(new), tuple(left), max(0, rows), max(0, -rows), new_labels)


def copy_classes(
    old: keras.Variable | np.ndarray,
    variable: keras.Variable,
    there_labels: Sequence[str],
    labels: Sequence[str],
) -> set[str]:
    """Copy the weights of the labels that two heads share, and return those labels.

    Args:
        old: [..., C], of the labels `there_labels`.
        variable: [..., C], of the labels `labels`, which takes them.
        there_labels, labels: the labels of either head.
    """
    shared = set(labels) & set(there_labels)
    if tuple(old.shape[:-1]) != tuple(variable.shape[:-1]) or not shared:
        return set()
    values, given = np.array(variable), np.array(old)
    for number, label in enumerate(labels):
        if label in shared:
            values[..., number] = given[..., list(there_labels).index(label)]
    variable.assign(values)
    return shared


def _fits(old: keras.Variable, new: keras.Variable, model: keras.Model) -> bool:
    """Tell whether a table of tokens takes the rows of another one. One of a network with classes may have
    fewer: it has no use for the tokens that only the other task has.
    """
    return old.shape[1:] == new.shape[1:] and (new.shape[0] > old.shape[0] or model.num_outputs is not None)


def _is_wider(old: keras.Variable, new: keras.Variable) -> bool:
    """Tell whether weights of a vocabulary have more tokens than others, and else their shape."""
    return old.shape[:-1] == new.shape[:-1] and new.shape[-1] > old.shape[-1]


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return ", ".join(map(repr, labels[:MOST_LABELS])) + more
