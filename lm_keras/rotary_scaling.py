"""Scaling of rotary positions, by which a network reads longer texts than it was first trained on.

A scaling is written as one flag value, a name with settings:

    linear:factor=4                                     positions are divided by 4
    llama3:factor=8,low_freq_factor=1,high_freq_factor=4,original_context_length=8192
    yarn:factor=4,original_context_length=32768

Each of them keeps a share of every frequency of `lm_keras.layers.rotary.rotations` and divides the rest by
`factor`. The names are those of Hugging Face's `rope_parameters`, where `original_context_length` is
`original_max_position_embeddings`. Nothing here imports TensorFlow.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lm_keras.errors import InputError, nearest

KINDS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_context_length"),
    "yarn": ("factor", "original_context_length", "beta_fast", "beta_slow", "attention_factor"),
}
"""The settings of each kind; those of `OPTIONAL` may be left out."""

OPTIONAL = ("beta_fast", "beta_slow", "attention_factor")

LARGEST = 1e9


class RotaryScaling(NamedTuple):
    """A scaling of rotary positions.

    Attributes:
        kind: `linear`, `llama3` or `yarn`.
        settings: numbers by name, those of `KINDS`; optional ones may be missing.
    """

    kind: str
    settings: Mapping[str, float]

    @property
    def attention_factor(self) -> float:
        """Return by what cosines and sines are multiplied.

        Reference: Peng et al. (2023), YaRN, section 3.4.
        """
        if self.kind != "yarn":
            return 1.0
        return self.settings.get("attention_factor", usual_attention_factor(self.settings["factor"]))

    def multipliers(self, width: int, base: float) -> list[float]:
        """Return by what each frequency is multiplied, [d / 2] numbers.

        Args:
            width: d, of a head.
            base: see `lm_keras.layers.rotary.rotations`.

        Example: a frequency whose wavelength is longer than the texts of the first training is divided by
            `factor`, one that turns many times within them stays.

            >>> parse("llama3:factor=8,low_freq_factor=1,high_freq_factor=4,original_context_length=50"
            ... ).multipliers(4, 1e4)
            [1.0, 0.125]

        Reference: linear: Chen et al. (2023), section 2.3; llama3: `apply_scaling` of Meta's llama-models;
            yarn: Peng et al. (2023), sections 3.2 and 3.3, with the bounds rounded to whole pairs.
        """
        shrunk = 1 / self.settings["factor"]
        return [share + (1 - share) * shrunk for share in self._shares_kept(width, base)]

    def _shares_kept(self, width: int, base: float) -> list[float]:
        """Return which share of each frequency is not divided."""
        settings, pairs = self.settings, range(width // 2)
        if self.kind == "linear":
            return [0.0 for _ in pairs]
        length = settings["original_context_length"]
        if self.kind == "llama3":
            low, high = settings["low_freq_factor"], settings["high_freq_factor"]
            turns = [length * base ** (-2 * pair / width) / (2 * math.pi) for pair in pairs]
            return [_clipped((number - low) / (high - low)) for number in turns]

        def pair_with(turns: float) -> float:
            """Return which pair turns so often within a text of the first training, not rounded."""
            return width * math.log(length / (2 * math.pi * turns)) / (2 * math.log(base))

        first = max(math.floor(pair_with(settings.get("beta_fast", 32.0))), 0)
        last = min(math.ceil(pair_with(settings.get("beta_slow", 1.0))), width - 1)
        last = last + 0.001 if first == last else last
        return [1 - _clipped((pair - first) / (last - first)) for pair in pairs]


def _clipped(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def usual_attention_factor(factor: float, scale: float = 1.0) -> float:
    """Return the `attention_factor` of YaRN where nothing says it."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def parse(text: str) -> RotaryScaling:
    """Read `NAME:KEY=NUMBER,...` and check it.

    Raises:
        InputError: for an unknown name or key, a number that is missing, or one that is out of range.

    Example:
        >>> parse("linear:factor=4")
        RotaryScaling(kind='linear', settings={'factor': 4.0})
    """
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise InputError(
            f"scaling {kind!r} is unknown{nearest(kind, KINDS)}; choose one of {', '.join(KINDS)}"
        )
    settings: dict[str, float] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals or key not in KINDS[kind]:
            raise InputError(
                f"{item!r} is not a setting of {kind}{nearest(key, KINDS[kind])}; write KEY=NUMBER with one "
                f"of {', '.join(KINDS[kind])}"
            )
        if key in settings:
            raise InputError(f"{key} is given twice; keep one of the two")
        try:
            settings[key] = float(value)
        except ValueError:
            raise InputError(f"{key}={value!r} is not a number") from None
        low = 1 if key in ("factor", "original_context_length") else 1e-9
        if not low <= settings[key] <= LARGEST:
            raise InputError(f"{key}={value} is out of range; expected {low:g} to {LARGEST:g}")
    missing = [key for key in KINDS[kind] if key not in settings and key not in OPTIONAL]
    if missing:
        raise InputError(f"{kind} needs {' and '.join(missing)}: write {kind}:{missing[0]}=NUMBER,...")
    for low, high in (("low_freq_factor", "high_freq_factor"), ("beta_slow", "beta_fast")):
        least, most = settings.get(low, 1.0), settings.get(high, 32.0)
        if {low, high} & settings.keys() and least >= most:
            raise InputError(f"{low}={least:g} has to be less than {high}={most:g}")
    return RotaryScaling(kind, settings)


def text_of(kind: str, settings: Mapping[str, float]) -> str:
    """Return what `parse` reads.

    Example:
        >>> text_of("yarn", {"factor": 2.5, "original_context_length": 16})
        'yarn:factor=2.5,original_context_length=16'
    """
    given = [(name, float(settings[name])) for name in KINDS[kind] if name in settings]
    return f"{kind}:" + ",".join(f"{name}={int(v) if v.is_integer() else v!r}" for name, v in given)
