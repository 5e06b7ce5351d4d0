"""Our accounting against numbers of dp-accounting 0.6.0, and against that package where it is installed."""

import itertools
import math

import numpy as np
import pytest

from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.privacy import accounting
from lm_keras.privacy.guarantee import Guarantee, promised

TABLE = [
    # units, rows, noise, steps, delta, epsilon of dp_accounting by RDP, by PLD
    (1_000, 64, 1.0, 300, 1e-4, 7.32, 6.49),
    (10_000, 256, 0.8, 1_000, 1e-5, 9.30, 8.36),
    (100_000, 512, 0.7, 3_000, 1e-6, 5.21, 4.49),
]


@pytest.mark.parametrize(("units", "rows", "noise", "steps", "delta", "rdp", "pld"), TABLE)
def test_rdp_is_within_a_percent_of_the_package(units, rows, noise, steps, delta, rdp, pld):
    found = accounting.rdp_epsilon(rows / units, noise, steps, delta)
    assert found == pytest.approx(rdp, rel=0.01)
    assert pld < found < 1.2 * pld  # an upper bound, and not a loose one


@pytest.mark.slow
def test_rdp_and_pld_equal_the_package_where_it_is_installed():
    """At whole orders; at some others the package's series does not converge, and it leaves these out. So
    ours is never above the package's, and never below what the loss distribution says.
    """
    package = pytest.importorskip("dp_accounting")
    whole = [order for order in accounting.ORDERS if order == int(order)]
    for rate, noise, steps in itertools.product((1e-4, 0.01, 0.2), (0.5, 1.0, 4.0), (10, 5_000)):
        event = package.PoissonSampledDpEvent(rate, package.GaussianDpEvent(noise))

        def epsilon(accountant, event=event, steps=steps):
            accountant.compose(event, steps)
            return accountant.get_epsilon(1e-5)

        found = steps * accounting.divergences(rate, noise)
        at_whole = np.where(np.isin(accounting.ORDERS, whole), found, np.inf)
        wanted = epsilon(package.rdp.RdpAccountant(orders=whole))
        assert accounting.epsilon_of(at_whole, 1e-5) == pytest.approx(wanted, rel=0.01, abs=1e-3)
        ours = accounting.rdp_epsilon(rate, noise, steps, 1e-5)
        assert ours <= 1.01 * epsilon(package.rdp.RdpAccountant()) + 1e-3
        assert ours >= epsilon(package.pld.PLDAccountant()) - 1e-3
    for units, rows, noise, steps, delta, _, pld in TABLE:
        cap = rows + 6 * math.isqrt(rows)
        assert accounting.pld_epsilon(units, rows, cap, noise, steps, delta) == pytest.approx(pld, rel=0.01)


def test_the_divergence_of_integer_orders_is_the_binomial_sum():
    """Mironov et al. (2019), section 3.3: for integer orders the integral is a finite sum."""
    rate, noise = 0.03, 0.9
    for order in (2, 5, 17, 40):
        terms = [
            math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
            + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * noise**2)
            for k in range(order + 1)
        ]  # fmt: skip
        wanted = np.logaddexp.reduce(terms) / (order - 1)
        assert accounting.divergences(rate, noise)[accounting.ORDERS.index(order)] == pytest.approx(wanted)


def test_epsilon_falls_with_noise_and_grows_with_steps_and_rate():
    def epsilon(rate=0.01, noise=1.0, steps=1000, delta=1e-5):
        return accounting.rdp_epsilon(rate, noise, steps, delta)

    assert epsilon(noise=1.1) < epsilon() < epsilon(noise=0.9)
    assert epsilon(steps=900) < epsilon() < epsilon(rate=0.011)
    assert epsilon(delta=1e-4) < epsilon() < epsilon(noise=0.0) == math.inf


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
def test_the_noise_that_is_found_is_the_smallest(epsilon):
    def with_noise(noise):
        return accounting.rdp_epsilon(0.02, noise, 500, 1e-5)

    noise = accounting.smallest_noise(epsilon, with_noise)
    assert with_noise(noise) <= epsilon < with_noise(noise - 2 * accounting.CLOSE)
    with pytest.raises(InputError, match=r"--dp_epsilon=1e-09 is out of reach"):
        accounting.smallest_noise(1e-9, with_noise)


@pytest.mark.parametrize(("units", "rows", "steps"), [(60, 12, 24), (2_045, 64, 500), (10**6, 256, 10**4)])
def test_the_cap_is_the_smallest_that_a_tenth_of_delta_pays_for(units, rows, steps):
    epsilon, delta = 3.0, 1e-5
    cap = accounting.smallest_cap(units, rows, steps, epsilon, delta)

    def cost(cap):
        k = np.arange(cap + 1, min(units, cap + 400) + 1)
        log = [
            math.lgamma(units + 1) - math.lgamma(i + 1) - math.lgamma(units - i + 1)
            + i * math.log(rows / units) + (units - i) * math.log1p(-rows / units)
            for i in k
        ]  # fmt: skip
        return steps * np.exp(log).sum() * (1 + math.exp(epsilon))

    assert cost(cap) <= delta / 10 < cost(cap - 1) * 1.3  # the bound is a little above the sum
    assert rows < cap < rows + 9 * math.sqrt(rows)


def config(**settings):
    return from_flat({"batch_size": 12, "dp_noise": 1.0, "steps": 24, **settings})


def test_what_is_promised_and_how_it_is_said():
    found = promised(config(), 3_000, 24)
    assert found.private and found.line.startswith("epsilon ")
    assert found.line.endswith(" at delta 1e-5, unit document, Poisson sampling")
    assert found.epsilon == accounting.rdp_epsilon(12 / 3_000, 1.0, 24, 0.9e-5)
    assert found.epsilon_after(24) == found.epsilon > found.epsilon_after(12) > found.epsilon_after(0) == 0
    assert Guarantee.from_json(found.to_json()) == found
    wanted = promised(config(dp_noise=None, dp_epsilon=2.0), 3_000, 24)
    assert 1.99 < wanted.epsilon <= 2.0 and wanted.line.startswith("epsilon 2 at delta")
    assert promised(config(dp_seed=1), 3_000, 24).line.startswith("not private: --dp_seed")
    assert promised(config(dp_noise=0.0), 3_000, 24).line == "not private: --dp_noise=0 hides nothing"
    assert promised(config(dp_noise=0.06), 3_000, 24).epsilon is None


@pytest.mark.parametrize(
    ("settings", "units", "said"),
    [
        ({}, 12, "the training text has 12 documents, and a step would take --batch_size=12 of them"),
        ({"dp_delta": 1e-3}, 1_000, "would allow a run to publish one of the 1,000 documents whole"),
    ],
)
def test_what_cannot_be_promised(settings, units, said):
    with pytest.raises(InputError, match=said):
        promised(config(**settings), units, 24)
