"""How repeated measurements are summed up."""

import statistics


def between(values: list[float]) -> str:
    """Return the middle half of some values, in words."""
    if len(values) < 2:
        return f"{values[0]:.4g}"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.4g} to {high:.4g}"
