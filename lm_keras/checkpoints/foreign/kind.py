"""What a family of another project is: its settings, and which of its tensors make up a weight of ours."""

import re
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lm_keras.checkpoints.foreign.keys import Key
from lm_keras.config import Config, from_flat


class Part(NamedTuple):
    """A weight of ours, and the tensors that it is made of.

    Attributes:
        variable: path of the weight below the network's name.
        tensors: names of theirs, without a prefix.
        widths: columns of ours that each of them is.
        transposed: whether theirs have rows and columns exchanged.
        as_row: whether theirs are matrices of one row, where ours is a vector.
    """

    variable: str
    tensors: tuple[str, ...]
    widths: tuple[int, ...]
    transposed: bool = False
    as_row: bool = False


CLASSIFIER = "classifier.weight"
"""The matrix of a head with labels."""


class Kind(NamedTuple):
    """A family of theirs.

    Attributes:
        family: ours, a value of `--model`.
        prefix: that names may have, all or none.
        buffers: names of tensors that are not weights, as a regular expression.
        embedding: the token embedding.
        output: the output matrix, which is another name of the embedding where both are tied.
        keys: those of its config.json.
        read: the values of the keys that are used -> settings of ours by flag, with `context_length`; raises
            InputError.
        parts: our settings and V -> the parts.
        config: our settings, V and the tokenizer -> their config.json.
        needed: settings that a network of ours has to have to be one of these.
        bare: beginnings of the names that never have the prefix.
        head: what those of the tensors begin with that a folder may lack all of; then it has no
            `--prediction_head`.
        unused: names of weights that nothing here has a use for, as a regular expression.
        renamed: ends of names that older files have, and what they are called now.
        bias: two names of the bias of the output, or none: where a file has the second, that one is added.
        classes: our settings and a number of labels -> the parts that heads with labels are made of; None
            for a family that has no such head.
        tasks: ours with labels, and what a class with such a head is called there.
        copies: names that a tensor may have beside that which `parts` says, by them; their numbers are the
            same.
    """

    family: str
    prefix: str
    buffers: str
    embedding: str
    output: str
    keys: tuple[Key, ...]
    read: Callable[[dict[str, Any]], dict[str, Any]]
    parts: Callable[..., list[Part]]
    config: Callable[..., dict[str, Any]]
    needed: dict[str, Any]
    bare: tuple[str, ...] = ("lm_head.",)
    head: str | None = None
    unused: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    bias: tuple[str, str] | None = None
    classes: Callable[[Config, int], list[Part]] | None = None
    tasks: Mapping[str, str] = types.MappingProxyType({})
    copies: Mapping[str, str] = types.MappingProxyType({})

    def settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return our settings, by flag, for the values of the keys that are used.

        Raises:
            InputError: this package has no such network.
        """
        flat = {"model": self.family, **self.read(values)}
        flat.setdefault("sequence_length", flat["context_length"])
        from_flat(flat)
        return flat

    def default(self, name: str) -> Any:
        """Return what a missing key of a config.json means."""
        return next(key.default for key in self.keys if key.name == name)

    def short(self, name: str) -> str:
        """Return the name of a tensor as `parts` says it: without prefix, as it is called now."""
        bare = name.removeprefix(self.prefix)
        name = name if bare.startswith(self.bare) else bare  # With the prefix it is no tensor of theirs.
        for old, new in self.renamed:
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    def full(self, name: str) -> str:
        """Return a name of `parts` as a whole model of theirs has it."""
        return name if name.startswith(self.bare) else self.prefix + name

    def is_buffer(self, name: str) -> bool:
        """Tell whether a tensor, by its short name, is not a weight."""
        return re.fullmatch(self.buffers, name) is not None

    def is_unused(self, name: str) -> bool:
        """Tell whether a tensor, by its short name, is a weight that has no use here."""
        return bool(self.unused) and re.fullmatch(self.unused, name) is not None
