"""Settings: how one is described, which values it may take, and how groups of them make a whole.

`config.py` lists the settings of a run.
"""

import dataclasses
import math
import struct
from collections.abc import Mapping
from typing import Any, Literal, Self, TypedDict, Unpack

from lm_keras import registry
from lm_keras.errors import InputError, nearest

LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
"""Largest absolute value of any other number: all of them become float32."""

SMALLEST_FLOAT = 2.0**-126
"""Smallest normal float32 above 0. TensorFlow takes smaller numbers for 0."""

LARGEST = 2**31 - 1
"""Largest whole number of any setting: all of them become int32 somewhere."""


class Description(TypedDict, total=False):
    """What is known of a setting beside its default and its meaning; every key may be left out.

    Attributes:
        choices: the names that are allowed.
        low, high: the smallest and the largest value that are allowed.
        above, below: bounds that are not allowed themselves.
        needs: capabilities of a family (`lm_keras.registry.CAPABILITIES`). The setting has a meaning for
            families with one of them; without `needs` it has one for all.
        tasks: tasks (`lm_keras.registry.TASKS`) for which the setting has a meaning [all].
        on_resume: whether a run that goes on may have another value: `never` [default]; `longer`, if it says
            how long the run is, so that a finished run goes on; `always`.
        dry_run: whether a dry run needs it: its figures or its refusals depend on it [yes].
        decides_result: whether the result of a whole run depends on it [unless it may `always` change].
        keeps_weights: whether weights of a run with another value fit (`--init_from`) [no]; asked of the
            settings of the network only.
        several: whether the flag may be given several times, and is a list then; of others the last counts.
        path: whether it is a file or folder (or may be one), so that its flag expands `~`.
        tokenizer: of a setting of the tokenizer: its name in what `Tokenizer.train` takes, and the value for
            None.
    """

    choices: tuple[str, ...]
    low: float | None
    high: float | None
    above: float | None
    below: float | None
    needs: tuple[str, ...]
    tasks: tuple[str, ...]
    on_resume: Literal["never", "longer", "always"]
    dry_run: bool
    decides_result: bool
    keeps_weights: bool
    several: bool
    path: bool
    tokenizer: tuple[str, Any]


_PLAIN: Description = {
    "choices": (), "low": None, "high": None, "above": None, "below": None, "needs": (), "tasks": (),
    "on_resume": "never", "dry_run": True, "keeps_weights": False, "several": False, "path": False,
    "tokenizer": (),
}  # fmt: skip


def setting(default: Any, help: str, **described: Unpack[Description]) -> Any:
    """Describe one setting: its default, its meaning, the values that it may take, and what depends on it.

    Args:
        default: the value without a flag; its type, or that of the annotation, is the flag's type.
        help: one sentence with the unit; `help_of` adds the choices and the families.
        **described: see `Description`.

    Returns:
        A field of a dataclass, with all of this in its `metadata`.
    """
    if unknown := described.keys() - Description.__annotations__.keys():
        raise TypeError(f"a setting has no {unknown.pop()!r}")
    known = {**_PLAIN, **described}
    known.setdefault("decides_result", known["on_resume"] != "always")
    return dataclasses.field(default=default, metadata={"help": help, **known})


def changeable(fields: Mapping[str, dataclasses.Field]) -> set[str]:
    """Return the settings, of those by name, that may differ when a run goes on."""
    return {name for name, field in fields.items() if field.metadata["on_resume"] != "never"}


class GroupedSettings:
    """Settings in groups. A subclass is a frozen dataclass whose fields are the groups, with defaults."""

    @classmethod
    def groups(cls) -> dict[str, type]:
        """Return the groups, each a dataclass of settings, in the order in which they are shown."""
        return {field.name: type(field.default) for field in dataclasses.fields(cls)}

    @classmethod
    def settings(cls) -> dict[str, dataclasses.Field]:
        """Return every setting by its flag's name."""
        return {field.name: field for kind in cls.groups().values() for field in dataclasses.fields(kind)}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """Build the whole from settings by flag name; what is missing takes its default.

        Raises:
            InputError: for a name that is not a setting, or a value that it may not take.
        """
        names = cls.settings()
        for name in values:
            if name not in names:
                raise InputError(f"setting {name!r} is unknown{nearest(name, list(names))}")
        groups = {
            group: kind(**{f.name: values[f.name] for f in dataclasses.fields(kind) if f.name in values})
            for group, kind in cls.groups().items()
        }
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """Return every setting under its flag's name, in a fixed order."""
        return {
            field.name: getattr(getattr(self, group), field.name)
            for group, kind in self.groups().items()
            for field in dataclasses.fields(kind)
        }

    def check_each(self) -> None:
        """Raise InputError where a setting has a value that it may not take, or that no flagfile can hold."""
        names = self.settings()
        for name, value in self.flat().items():
            check(names[name], value)
            check_line(name, value)


def help_of(field: dataclasses.Field) -> str:
    """Return the text of a setting in `--help`: its meaning, its choices, and for what it has a meaning."""
    choices = field.metadata["choices"]
    return field.metadata["help"] + (f" ({', '.join(choices)})" if choices else "") + only_for(field)


def only_for(field: dataclasses.Field) -> str:
    """Return for which families or tasks a setting is, as the end of a sentence; nothing if for all."""
    needs, tasks = field.metadata["needs"], field.metadata["tasks"]
    if tasks:
        return f"; --task={' or '.join(tasks)} only"
    return f"; {registry.listed(*needs)} only" if needs else ""


def families_of(field: dataclasses.Field) -> tuple[str, ...]:
    """Return the families for which a setting may have a meaning."""
    needs = {*field.metadata["needs"], *(registry.TASKS[task].needs for task in field.metadata["tasks"])}
    return registry.families_with(*needs) if needs else tuple(registry.FAMILIES)


def kind_of(field: dataclasses.Field) -> tuple[type, bool]:
    """Return the type of a setting and whether it may be absent (None)."""
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    annotation = field.type if isinstance(field.type, type) else None
    if annotation:
        return annotation, False
    names = [part.strip() for part in str(field.type).split("|")]
    return kinds[names[0]], "None" in names


def in_float32(value: float) -> float:
    """Return the nearest float32 of a number up to `LARGEST_FLOAT`; as TensorFlow, 0 below `SMALLEST_FLOAT`.

    Example:
        >>> in_float32(1e-40), in_float32(1 - 1e-9), in_float32(0.5)
        (0.0, 1.0, 0.5)
    """
    (nearest_one,) = struct.unpack("f", struct.pack("f", value))
    return nearest_one if abs(nearest_one) >= SMALLEST_FLOAT else 0.0


def within_float32(value: float) -> float:
    """Return a number, or the float32 number nearest to it that has its sign and is finite.

    Example:
        >>> within_float32(1e-46) == SMALLEST_FLOAT, within_float32(1e39) == LARGEST_FLOAT
        (True, True)
        >>> within_float32(-0.5)
        -0.5
    """
    if not value:
        return 0.0
    size = min(max(abs(value), SMALLEST_FLOAT), LARGEST_FLOAT)
    return float(size if value > 0 else -size)


def check(field: dataclasses.Field, value: Any) -> None:
    """Raise InputError unless `value` is one that the setting may take, as it is and in float32."""
    kind, optional = kind_of(field)
    meta = field.metadata
    if value is None and optional:
        return
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InputError(f"--{field.name}={value!r}: expected {expected(field)}")
    if meta["choices"] and value not in meta["choices"]:
        raise InputError(
            f"--{field.name}={value} is unknown{nearest(value, meta['choices'])}; choose one of "
            f"{', '.join(meta['choices'])}"
        )
    if kind in (int, float):
        if not within(meta, value):
            raise InputError(f"--{field.name}={value} is out of range; expected {expected(field)}")
        if value > LARGEST and kind is int:
            raise InputError(f"--{field.name}={value} is out of range; expected at most {LARGEST}")
        if abs(value) > LARGEST_FLOAT and kind is float:
            raise InputError(
                f"--{field.name}={value} is out of range; expected at most {LARGEST_FLOAT:.1e}, the limit of "
                "float32"
            )
    if kind is float:
        _check_in_float32(field, value)


def within(meta: Mapping[str, Any], value: float) -> bool:
    """Tell whether a number is finite and lies within the bounds of a setting, by its `metadata`."""
    return (
        (type(value) is int or math.isfinite(value))
        and (meta["low"] is None or value >= meta["low"])
        and (meta["high"] is None or value <= meta["high"])
        and (meta["above"] is None or value > meta["above"])
        and (meta["below"] is None or value < meta["below"])
    )


def _check_in_float32(field: dataclasses.Field, value: float) -> None:
    """Raise InputError if a number leaves its bounds in float32: 1e-46 becomes 0, and 1 - 1e-9 becomes 1.

    A setting without bounds, which checks itself or for which 0 is a number like any other, may become 0.
    """
    meta, single = field.metadata, in_float32(value)
    bounded = any(meta[name] is not None for name in ("low", "above", "high", "below"))
    if not bounded or (within(meta, single) and bool(single) == bool(value)):
        return
    smallest = f"{SMALLEST_FLOAT:.1e}"
    less = "" if single else f", 0 or at least {smallest}" if within(meta, 0.0) else f", at least {smallest}"
    raise InputError(
        f"--{field.name}={value} becomes {single:g} in float32, in which everything is computed; expected "
        f"{expected(field)}{less}"
    )


def check_line(name: str, value: Any) -> None:
    """Raise InputError if a text would not read the same from a line of a flagfile, which keeps every run."""
    if not isinstance(value, str):
        return
    if "\0" in value:
        raise InputError(f"--{name}={value!r} has a NUL, which no name of a file can hold; leave it out")
    surrogates = any("\ud800" <= character <= "\udfff" for character in value)
    if surrogates or value != value.rstrip() or {"\n", "\r"} & set(value):
        raise InputError(
            f"--{name}={value!r} has a line feed, a space at its end or bytes that are not UTF-8, "
            "which no flagfile can hold; leave them out"
        )


def expected(field: dataclasses.Field) -> str:
    """Say in words which values a setting may take."""
    kind, _ = kind_of(field)
    meta = field.metadata
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
    bounds = [
        (meta["low"], "of at least"),
        (meta["above"], "above"),
        (meta["high"], "of at most"),
        (meta["below"], "below"),
    ]
    limits = " and ".join(f"{name} {bound}" for bound, name in bounds if bound is not None)
    return f"{words} {limits}".strip()


def profiled_steps(text: str | None) -> tuple[int, int] | None:
    """Read `--profile_steps`: the first and the last step to record, counted from 1.

    Example:
        >>> profiled_steps("101:120")
        (101, 120)

    Raises:
        InputError: the text is something else.
    """
    if text is None:
        return None
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= LARGEST):
        raise InputError(
            f"--profile_steps={text}: expected FIRST:LAST, two steps in rising order, such as 101:120"
        )
    return int(first), int(last)
