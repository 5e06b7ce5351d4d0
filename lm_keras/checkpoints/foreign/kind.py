"""What a family of another project is: its settings, and which of its tensors make up a weight of ours."""

import math
import re
from typing import Any, NamedTuple

from lm_keras.errors import InputError


class Part(NamedTuple):
    """A weight of ours, and the tensors that it is made of.

    Attributes:
        variable: path of the weight below the network's name.
        tensors: names of theirs, without a prefix.
        widths: columns of ours that each of them is.
        transposed: whether theirs have rows and columns exchanged.
    """

    variable: str
    tensors: tuple[str, ...]
    widths: tuple[int, ...]
    transposed: bool = False


class Kind(NamedTuple):
    """A family of theirs.

    Attributes:
        family: ours, a value of `--model`.
        prefix: that names may have, all or none.
        buffers: names of tensors that are no weights.
        output: the output matrix, which is another name of the embedding where both are tied.
        settings: their config.json -> settings of ours by flag; raises InputError.
        parts: our settings and V -> the parts.
        config: our settings, V and the tokenizer -> their config.json.
        needed: settings that a network of ours has to have to be one of these.
        bare: beginnings of the names that never have the prefix.
        head: what those of the tensors begin with that a folder may lack all of; then it has no `--prediction_head`.
        unused: names of weights that nothing here has a use for.
        renamed: ends of names that older files have, and what they are called now.
    """

    family: str
    prefix: str
    buffers: str
    output: str
    settings: Any
    parts: Any
    config: Any
    needed: dict[str, Any]
    bare: tuple[str, ...] = ("lm_head.",)
    head: str | None = None
    unused: str = ""
    renamed: tuple[tuple[str, str], ...] = ()

    def short(self, name: str) -> str:
        """Return the name of a tensor as `parts` says it: without prefix, as it is called now."""
        name = name.removeprefix(self.prefix)
        for old, new in self.renamed:
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    def full(self, name: str) -> str:
        """Return a name of `parts` as a whole model of theirs has it."""
        return name if name.startswith(self.bare) else self.prefix + name

    def is_buffer(self, name: str) -> bool:
        """Tell whether a tensor, by its short name, is no weight."""
        return re.fullmatch(self.buffers, name) is not None

    def is_unused(self, name: str) -> bool:
        """Tell whether a tensor, by its short name, is a weight that has no use here."""
        return bool(self.unused) and re.fullmatch(self.unused, name) is not None


def value_of(config: dict, name: str, default: Any = None, kinds: tuple = (int,)) -> Any:
    value = config.get(name)
    value = default if value is None else value
    if type(value) not in kinds or (type(value) in (int, float) and not 0 < value < math.inf):
        raise InputError(f"config.json has {value!r} for {name!r}")
    return value


def only(config: dict, expected: dict[str, tuple]) -> None:
    for name, values in expected.items():
        if config.get(name, values[0]) not in values:
            raise InputError(
                f"config.json has {config[name]!r} for {name!r}, which is not supported; known is {values[0]!r}"
            )
