"""Our accounting beside that of dp-accounting."""

from collections.abc import Iterator
from typing import Any

from lm_keras.errors import InputError
from lm_keras.privacy.accounting import pld_epsilon, rdp_epsilon

ROWS = [
    # units, batch, noise, steps, delta
    (1_000, 64, 1.0, 300, 1e-4),
    (10_000, 256, 0.8, 1_000, 1e-5),
    (29_000, 256, 1.0, 300, 1e-6),
    (100_000, 512, 0.7, 3_000, 1e-6),
]
"""What is accounted for."""


def accounting() -> Iterator[dict[str, Any]]:
    """Yield epsilons of whole runs.

    Raises:
        InputError: the package is missing.
    """
    try:
        import dp_accounting
    except ImportError:
        raise InputError("accounting needs dp-accounting: pip install 'lm_keras[privacy]'") from None
    for units, batch, noise, steps, delta in ROWS:
        rate = batch / units
        peer = dp_accounting.rdp.RdpAccountant()
        step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        peer.compose(step, steps)
        by_distributions = pld_epsilon(units, batch, batch + round(6 * batch**0.5), noise, steps, delta)
        yield {
            "units": f"{units:,}",
            "batch": batch,
            "noise": noise,
            "steps": f"{steps:,}",
            "delta": f"{delta:.0e}".replace("e-0", "e-"),
            "lm_keras, RDP": round(rdp_epsilon(rate, noise, steps, delta), 3),
            "dp-accounting, RDP": round(peer.get_epsilon(delta), 3),
            "dp-accounting, PLD": round(by_distributions, 3),
        }
