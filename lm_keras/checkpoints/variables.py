"""The variables of a checkpoint: how they are named there, and whether their numbers are finite."""

from collections.abc import Collection, Iterator

import keras
import tensorflow as tf

from lm_keras.errors import InputError

Tensors = dict[str, list[keras.Variable | tf.Variable]]
"""Variables by group: `model`, `optimizer`, `carried`."""


def tracked(tensors: Tensors, there: Collection[str] = ()) -> tf.train.Checkpoint:
    """Name every variable by its place and name.

    `tf.train.Checkpoint(model=model)` would leave out layers that a Keras model holds in a list, without a
    word.

    The slots of an optimizer are named after the model, which Keras numbers where it has no name of its own:
    their places decide, and what kind of slot they are.

    Args:
        tensors: variables, by group.
        there: names of slots in a checkpoint. Where its model had another name, a slot is named as there.
    """
    slots = {name.partition("_")[0]: name for name in there}
    groups = {}
    for group, variables in tensors.items():
        names = [f"{place:04d}_{variable.name.split(':')[0]}" for place, variable in enumerate(variables)]
        if group == "optimizer":
            names = [_same_slot(name, slots.get(name.partition("_")[0], name)) for name in names]
        groups[group] = tf.train.Checkpoint(**dict(zip(names, map(_plain, variables), strict=True)))
    return tf.train.Checkpoint(**groups)


def _same_slot(name: str, there: str) -> str:
    """Return how a slot is called in a checkpoint, if it is of the same kind, such as `momentum`; else its
    own name.
    """
    return there if name.rpartition("_")[2] == there.rpartition("_")[2] else name


def slots_in(prefix: str) -> list[str]:
    """Return the names of the optimizer's variables in a checkpoint."""
    begin = "optimizer/"
    keys = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    return [key.removeprefix(begin).partition("/")[0] for key in keys if key.startswith(begin)]


def check_finite(step: int, tensors: Tensors) -> None:
    """Raise InputError if a variable holds a number that is not finite at a step."""
    for name, variable in _named(tensors):
        if not variable.dtype.is_floating:
            continue
        try:
            tf.debugging.check_numerics(variable, name)  # One pass, and no memory.
        except tf.errors.InvalidArgumentError:
            raise InputError(
                f"{name} holds a number that is not finite at step {step:,}, which is not saved; the"
                " checkpoints before are kept; begin a new run in another --run_dir with a lower"
                " --learning_rate or a --clip_norm"
            ) from None


def _named(tensors: Tensors) -> Iterator[tuple[str, tf.Variable]]:
    for group, variables in tensors.items():
        for place, variable in enumerate(variables):
            yield f"{group} variable {getattr(variable, 'path', place)}", _plain(variable)


def _plain(variable: keras.Variable | tf.Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable
