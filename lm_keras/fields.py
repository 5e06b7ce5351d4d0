"""One setting: how it is described, and which values it may take. `config.py` says which settings
there are.
"""

import dataclasses
import math
import struct
from collections.abc import Mapping
from typing import Any

from lm_keras.errors import InputError, nearest

LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
"""Largest absolute value of any other number: all of them become float32."""

SMALLEST_FLOAT = 2.0**-126
"""Smallest normal float32 above 0. TensorFlow takes smaller numbers for 0."""

LARGEST = 2**31 - 1
"""Largest whole number of any setting: all of them become int32 somewhere."""


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    only_for: tuple[str, ...] = (),
    several: bool = False,
    path: bool = False,
) -> Any:
    """Describe one setting: its default, its meaning, and the values that it may take.

    Args:
        default: the value without a flag; its type, or that of the annotation, is the flag's type.
        help: one sentence with the unit.
        choices: the names that are allowed.
        low, above, high, below: bounds; `low` and `high` are allowed values, `above` and `below` are not.
        only_for: the families (`--model`) that it has a meaning for; empty for all.
        several: the flag may be given several times, and is a list then; of others the last one counts.
        path: whether it is a file or folder (or may be one), so that its flag expands `~`.
    """
    meta = {"help": help, "choices": choices, "low": low, "above": above, "high": high, "below": below}
    more = {"only_for": only_for, "several": several, "path": path}
    return dataclasses.field(default=default, metadata={**meta, **more})


def kind_of(field: dataclasses.Field) -> tuple[type, bool]:
    """Return the type of a setting and whether it may be absent (None)."""
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    annotation = field.type if isinstance(field.type, type) else None
    if annotation:
        return annotation, False
    names = [part.strip() for part in str(field.type).split("|")]
    return kinds[names[0]], "None" in names


def in_float32(value: float) -> float:
    """Return what TensorFlow makes of a number of at most `LARGEST_FLOAT`: the nearest float32, and 0 below
    `SMALLEST_FLOAT`.

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
            f"--{field.name}={value} is unknown{nearest(value, meta['choices'])}; choose one of"
            f" {', '.join(meta['choices'])}"
        )
    if kind in (int, float):
        if not _within(meta, value):
            raise InputError(f"--{field.name}={value} is out of range; expected {expected(field)}")
        if value > LARGEST and kind is int:
            raise InputError(f"--{field.name}={value} is out of range; expected at most {LARGEST}")
        if abs(value) > LARGEST_FLOAT and kind is float:
            raise InputError(
                f"--{field.name}={value} is out of range; expected at most {LARGEST_FLOAT:.1e}, the limit of"
                " float32"
            )
    if kind is float:
        _check_in_float32(field, value)


def _within(meta: Mapping[str, Any], value: float) -> bool:
    """Tell whether a number lies within the bounds of a setting."""
    return (
        (type(value) is int or math.isfinite(value))
        and (meta["low"] is None or value >= meta["low"])
        and (meta["high"] is None or value <= meta["high"])
        and (meta["above"] is None or value > meta["above"])
        and (meta["below"] is None or value < meta["below"])
    )


def _check_in_float32(field: dataclasses.Field, value: float) -> None:
    """Raise InputError if a bound has no meaning for what a number becomes in float32: 0 for 1e-46, 1 for 1 -
    1e-9.

    A setting without bounds, which checks itself or for which 0 is a number like any other, may become 0.
    """
    meta, single = field.metadata, in_float32(value)
    bounded = any(meta[name] is not None for name in ("low", "above", "high", "below"))
    if not bounded or (_within(meta, single) and bool(single) == bool(value)):
        return
    smallest = f"{SMALLEST_FLOAT:.1e}"
    less = "" if single else f", 0 or at least {smallest}" if _within(meta, 0.0) else f", at least {smallest}"
    raise InputError(
        f"--{field.name}={value} becomes {single:g} in float32, in which everything is computed; expected"
        f" {expected(field)}{less}"
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
            f"--{name}={value!r} has a line feed, a blank at its end or bytes that are no UTF-8, "
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
