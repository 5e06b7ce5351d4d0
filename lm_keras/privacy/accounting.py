"""Accounting: what the steps of a run reveal at most, as (epsilon, delta).

A step samples each of N units with the rate q, clips what each adds to a sum, and adds Gaussian noise. Two
texts are neighbours if one of them has one unit more. Nothing here needs TensorFlow.

Reference: Mironov, Talwar and Zhang (2019), "Rényi differential privacy of the sampled Gaussian mechanism";
Canonne, Kamath and Steinke (2020), "The discrete Gaussian for differential privacy", proposition 12.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from lm_keras.errors import InputError

ORDERS = (*(1 + k / 10 for k in range(1, 100)), *range(11, 64), 64, 80, 96, 128, 192, 256, 512, 1024)
"""Orders of the Rényi divergence, of which the best one counts."""

FAR = 38
"""Standard deviations beyond which a normal density is 0 in float64."""

LEAST_NOISE, MOST_NOISE = 0.05, 1e4
"""Noise multipliers between which the wanted one is looked for."""

CLOSE = 1e-4
"""Noise multipliers are found up to this step."""

SHARE_OF_CAP = 0.1
"""Share of delta that RDP leaves for the steps whose sample is larger than the cap."""


@functools.lru_cache(maxsize=1024)
def divergences(rate: float, noise: float) -> np.ndarray:
    """Return the Rényi divergence of one step at each of `ORDERS`, in nats.

    It is log(A) / (order - 1), where A is the mean of (1 - q + q exp((2 z - 1) / (2 s^2)))^order over
    z ~ N(0, s^2). The mean is an integral of a smooth function that vanishes at both ends, which sums over
    equal steps give to the precision of float64.

    Args:
        rate: q, between 0 and 1.
        noise: s, standard deviation of the noise over the largest norm of a clipped gradient.

    Reference: Mironov et al. (2019), sections 3.1 and 3.3; theorem 5 there: the other direction is smaller.
    """
    orders = np.array(ORDERS)
    step = min(noise, 2 * noise**2) / 8
    z = np.arange(-FAR * noise, orders[-1] + FAR * noise, step)
    density = -(z**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi)) + math.log(step)
    ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * z - 1) / (2 * noise**2))
    found = []
    for order in ORDERS:
        terms = (density + order * ratio)[: np.searchsorted(z, order + FAR * noise)]
        largest = terms.max()
        found.append((largest + math.log(np.exp(terms - largest).sum())) / (order - 1))
    return np.maximum(0.0, found)


def epsilon_of(divergence: np.ndarray, delta: float) -> float:
    """Turn the divergence at each of `ORDERS` into an epsilon at `delta`.

    Reference: Canonne et al. (2020), proposition 12.
    """
    orders = np.array(ORDERS)
    bounds = divergence + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(bounds.min()))


def rdp_epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """Return the epsilon of some steps by Rényi differential privacy; infinity without noise.

    Args:
        rate: share of the units that a step samples on average.
        noise: noise multiplier.
        steps: how many.
        delta: probability with which the limit may not hold.

    Example:
        >>> round(rdp_epsilon(0.064, 1.0, 300, 1e-4), 1)
        7.3
    """
    if not noise:
        return math.inf
    return epsilon_of(steps * divergences(rate, noise), delta) if steps else 0.0


def log_probability_beyond(cap: int, units: int, rate: float) -> float:
    """Return log P[K > cap] for K ~ Binomial(units, rate), rounded up.

    From the cap on the probabilities fall at least as fast as a geometric series does.
    """
    k = cap + 1
    if k > units:
        return -math.inf
    ratio = (units - k) * rate / ((k + 1) * (1 - rate))
    if ratio >= 1:
        return 0.0
    binomial = math.lgamma(units + 1) - math.lgamma(k + 1) - math.lgamma(units - k + 1)
    return min(0.0, binomial + k * math.log(rate) + (units - k) * math.log1p(-rate) - math.log1p(-ratio))


def smallest_cap(units: int, rows: int, steps: int, epsilon: float, delta: float) -> int:
    """Return how many rows a step must hold, so that a larger sample is as good as impossible.

    RDP accounts for samples of any size. A sample beyond the cap is cut, and then the run is another one:
    steps x P[K > cap] x (1 + exp(epsilon)) has to be at most delta / 10, a tenth that RDP does not get.

    Args:
        units: N.
        rows: expected rows of a step, N q.
        steps: of the run.
        epsilon, delta: what the whole run promises.
    """
    wanted = math.log(SHARE_OF_CAP * delta) - math.log(steps) - float(np.logaddexp(0.0, epsilon))
    cap = rows
    while cap < units and log_probability_beyond(cap, units, rows / units) > wanted:
        cap += 1
    return cap


def pld_epsilon(units: int, rows: int, cap: int, noise: float, steps: int, delta: float) -> float:
    """Return the epsilon of some steps by privacy loss distributions, the cap included.

    Raises:
        InputError: the package dp-accounting is missing.

    Reference: Koskela, Jälkö and Honkela (2020); the package's `TruncatedSubsampledGaussianDpEvent`.
    """
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError:
        raise InputError(
            "--dp_accountant=pld needs dp-accounting: pip install 'lm_keras[privacy]', or take rdp"
        ) from None
    if not noise:
        return math.inf
    accountant = pld.PLDAccountant()
    event = dp_accounting.TruncatedSubsampledGaussianDpEvent(units, rows / units, cap, noise)
    accountant.compose(event, steps)
    return float(accountant.get_epsilon(delta))


def smallest_noise(epsilon: float, epsilon_with: Callable[[float], float]) -> float:
    """Return the smallest noise multiplier, up to `CLOSE`, whose epsilon is not above a limit.

    Args:
        epsilon: the limit.
        epsilon_with: noise multiplier -> epsilon, which falls.

    Raises:
        InputError: no noise is enough.
    """
    low, high = LEAST_NOISE, 1.0
    while epsilon_with(high) > epsilon:
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise InputError(
                f"--dp_epsilon={epsilon:g} is out of reach: {MOST_NOISE:,.0f} times --dp_clip would not be"
                " noise enough; take a larger epsilon, fewer --steps or more text"
            )
    if epsilon_with(low) <= epsilon:
        return low
    while high - low > CLOSE:
        middle = (low + high) / 2
        low, high = (low, middle) if epsilon_with(middle) <= epsilon else (middle, high)
    return high
