"""The promise of a private run: what it is, how it is worked out, and how it is said."""

import dataclasses
import math
from typing import Any

from lm_keras.config import Config, PrivacyConfig
from lm_keras.errors import InputError
from lm_keras.privacy import accounting

NOTHING = 100.0
"""An epsilon above this promises nothing: an attacker's odds may change by a factor of 10^43."""

CAP_OF_PLD = 6
"""Standard deviations beyond the expected rows that a step holds where the accountant counts what is cut."""


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """What a run promises about each unit of its training text.

    Attributes:
        unit: `document` or `window`.
        units: N.
        rows: expected rows of a step.
        cap: rows of a step at most.
        noise: standard deviation of the noise over `clip`.
        clip: largest norm of the gradient of a row.
        steps: that are accounted for; the run trains no further.
        delta: probability with which the limit may not hold.
        epsilon: the limit on the privacy loss, in nats; None where there is none.
        accountant: `rdp` or `pld`.
        seeded: whether `--dp_seed` makes sample and noise known.
    """

    unit: str
    units: int
    rows: int
    cap: int
    noise: float
    clip: float
    steps: int
    delta: float
    epsilon: float | None
    accountant: str
    seeded: bool

    @property
    def private(self) -> bool:
        """Tell whether it promises anything."""
        return self.epsilon is not None and not self.seeded

    @property
    def line(self) -> str:
        """Say it in one line: `epsilon 2.4 at delta 1e-5, unit document, Poisson sampling`."""
        if self.seeded:
            return "not private: --dp_seed makes the noise known; it is for tests"
        if self.epsilon is None:
            return f"not private: --dp_noise={self.noise:g} hides nothing"
        return (
            f"epsilon {_rounded_up(self.epsilon)} at delta {_short(self.delta)}, unit {self.unit}, Poisson"
            " sampling"
        )

    @property
    def details(self) -> str:
        """Say in one line what the promise rests on."""
        return (
            f"noise multiplier {self.noise:.4g}, clipping norm {self.clip:g}, {self.rows:,} of"
            f" {self.units:,} {self.unit}s expected at each of {self.steps:,} steps, at most {self.cap:,},"
            f" accounted by {self.accountant.upper()}"
        )

    def epsilon_after(self, step: int) -> float | None:
        """Return the epsilon of the first steps; None where it takes seconds or nothing is promised."""
        if not self.private or self.accountant != "rdp":
            return None
        return accounting.rdp_epsilon(self.rows / self.units, self.noise, step, _delta_of_rdp(self.delta))

    def reported(self) -> dict[str, Any]:
        """Return what results say: the values, and the line for people."""
        return {**self.to_json(), "line": self.line}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Guarantee":
        """Return what `to_json` returned."""
        return cls(**{field.name: content[field.name] for field in dataclasses.fields(cls)})


def promised(config: Config, units: int, steps: int) -> Guarantee:
    """Work out the promise of a run, and the noise that it needs for `--dp_epsilon`.

    Args:
        config: the settings.
        units: N.
        steps: of the run.

    Raises:
        InputError: there are too few units, delta is too large, or no noise is enough.
    """
    given, rows = config.privacy, config.batches.batch_size
    _check_units(given, units, rows)
    if given.dp_accountant == "pld":
        cap = min(units, rows + math.ceil(CAP_OF_PLD * math.sqrt(rows)))
        noise, epsilon = _noise_and_epsilon(
            given,
            lambda noise: accounting.pld_epsilon(units, rows, cap, noise, steps, given.dp_delta),
        )
    else:
        delta = _delta_of_rdp(given.dp_delta)
        noise, epsilon = _noise_and_epsilon(
            given, lambda noise: accounting.rdp_epsilon(rows / units, noise, steps, delta)
        )
        promised = epsilon if epsilon <= NOTHING else 0.0
        cap = accounting.smallest_cap(units, rows, steps, promised, given.dp_delta)
    return Guarantee(
        unit=given.dp_unit, units=units, rows=rows, cap=cap, noise=noise, clip=given.dp_clip, steps=steps,
        delta=given.dp_delta, epsilon=epsilon if epsilon <= NOTHING else None,
        accountant=given.dp_accountant, seeded=given.dp_seed is not None,
    )  # fmt: skip


def _noise_and_epsilon(given: PrivacyConfig, epsilon_with: Any) -> tuple[float, float]:
    if given.dp_epsilon is None:
        return given.dp_noise, epsilon_with(given.dp_noise)
    noise = accounting.smallest_noise(given.dp_epsilon, epsilon_with)
    return noise, epsilon_with(noise)


def _check_units(given: PrivacyConfig, units: int, rows: int) -> None:
    if units <= rows:
        other = "; take --dp_unit=window, or say with --document_separator where documents end"
        raise InputError(
            f"--dp_unit={given.dp_unit}: the training text has {units:,} {given.dp_unit}s, and a step would"
            f" take --batch_size={rows} of them; give more text or a smaller --batch_size"
            + (other if given.dp_unit == "document" else "")
        )
    if given.dp_delta * units >= 1:
        raise InputError(
            f"--dp_delta={given.dp_delta:g} would allow a run to publish one of the {units:,}"
            f" {given.dp_unit}s whole; take less than {1 / units:.1e}, best a tenth of that"
        )


def _delta_of_rdp(delta: float) -> float:
    return (1 - accounting.SHARE_OF_CAP) * delta


def _rounded_up(epsilon: float) -> str:
    return f"{math.ceil(epsilon * 100 - 1e-9) / 100:g}"


def _short(delta: float) -> str:
    """Return a small number as people write it: 1e-5."""
    mantissa, exponent = f"{delta:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
