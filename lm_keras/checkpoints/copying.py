"""Weights of one network for another one: the body by name and shape, and a line on all that is
not copied.
"""

import dataclasses

import keras
import numpy as np

from lm_keras.errors import InputError

EMBEDDING = "embedding/embeddings"
"""The table of tokens, [V, E]; a network with more tokens has more rows."""


@dataclasses.dataclass(frozen=True)
class Copied:
    """What was not copied from one network to another.

    Attributes:
        new: weights of the head that are new, by name.
        left: weights of the old head that nothing takes.
        added: tokens that the old vocabulary lacks.
    """

    new: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    added: int = 0

    @property
    def remark(self) -> str:
        """Return it in words that go on in a line; empty where everything was copied."""
        parts = [f"{', '.join(self.new)} of the head are new"] * bool(self.new)
        parts += [f"{self.added:,} added tokens are new"] * bool(self.added)
        parts += [f"{', '.join(self.left)} of the old head are left out"] * bool(self.left)
        return "".join(f"; {part}" for part in parts)


def names_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the trainable weights by their path below the network's name."""
    return {v.path.removeprefix(f"{model.name}/"): v for v in model.trainable_variables}


def head_of(model: keras.Model) -> set[str]:
    """Return the names of the weights that belong to the network's head."""
    head = {id(variable) for variable in model.head_weights}
    return {name for name, variable in names_of(model).items() if id(variable) in head}


def copy_weights(trained: keras.Model, model: keras.Model) -> Copied:
    """Copy the body of a network into another one, and of its head what has the same name and shape.

    Args:
        trained: the network whose weights are copied.
        model: the new network. It may have another head, and tokens behind those of the other one.

    Raises:
        InputError: the bodies do not match.
    """
    there, here, head = names_of(trained), names_of(model), head_of(model)
    left = [name for name in there if name not in here]
    if wrong := [name for name in left if name not in head_of(trained)]:
        raise InputError(f"the bodies do not match: the weight {wrong[0]} there has no place here")
    new, added = [], 0
    for name, variable in here.items():
        old = there.get(name)
        if old is not None and old.shape == variable.shape:
            variable.assign(old)
        elif name in head:
            new.append(name)
        elif name == EMBEDDING and old is not None and _has_more_rows(variable, old):
            added = variable.shape[0] - old.shape[0]
            variable.assign(np.concatenate([old.numpy(), variable.numpy()[old.shape[0] :]]))
        else:
            found = "is missing there" if old is None else f"has the shape {tuple(old.shape)} there"
            raise InputError(
                f"the bodies do not match: the weight {name} {found}, and {tuple(variable.shape)} here"
            )
    return Copied(tuple(new), tuple(left), added)


def _has_more_rows(new: keras.Variable, old: keras.Variable) -> bool:
    return new.shape[0] > old.shape[0] and new.shape[1:] == old.shape[1:]
