"""Runs that differ in nothing but their privacy."""

import math
from typing import Any

from lm_keras.errors import InputError


def runs_of(text: str, delta: float) -> dict[str, dict[str, Any]]:
    """Return the settings of privacy of each epsilon, by its name; those of inf are no noise and no clipping.

    Args:
        text: epsilons, with commas.
        delta: of all of them.

    Raises:
        InputError: one is no number above 0.

    Example:
        >>> runs_of("inf,8", 1e-5)["8"]
        {'dp_epsilon': 8.0, 'dp_delta': 1e-05}
    """
    found: dict[str, dict[str, Any]] = {}
    for part in text.split(","):
        try:
            epsilon = float(part)
        except ValueError:
            epsilon = math.nan
        if not epsilon > 0:
            raise InputError(
                f"--epsilons={text}: expected numbers above 0 or inf, with commas, such as inf,8,1"
            )
        # Without privacy everything else stays as it is: no row is ever clipped to such a norm.
        plain = {"dp_noise": 0.0, "dp_clip": 1e6, "dp_delta": delta}
        limited = {"dp_epsilon": epsilon, "dp_delta": delta}
        found[part.strip()] = limited if math.isfinite(epsilon) else plain
    return found
