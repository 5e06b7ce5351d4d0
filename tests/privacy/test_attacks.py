"""The attacks on what is known; and a short canary test of whole runs."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lm_keras.errors import InputError
from lm_keras.privacy import attacks

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))


def test_exposure_is_log_rank():
    secret = attacks.Canary("ada", 31_415, 1)

    def rank(share):
        """A network that finds a share of all numbers likelier than the secret."""

        def nats(texts):
            numbers = [int(text.split()[-1].rstrip(".")) for text in texts]
            return np.array([share if n == secret.number else n / attacks.NUMBERS for n in numbers])

        return attacks.exposure(secret, nats, seed=3)

    assert rank(-1.0) == pytest.approx(attacks.LARGEST_EXPOSURE) == pytest.approx(16.6, abs=0.01)
    assert rank(0.5) == pytest.approx(1.0, abs=0.1)
    assert rank(1 / 16) == pytest.approx(4.0, abs=0.25)
    assert rank(2.0) == pytest.approx(0.0, abs=1e-4)


def test_secrets_are_planted_in_copies():
    secrets = attacks.canaries(seed=2)
    assert [one.copies for one in secrets] == [1] * 5 + [8] * 5
    texts = [f"{k:063d}" for k in range(30)]
    found = attacks.planted(texts, secrets, seed=1)
    assert found[:30] == texts and len(found) == 30 + 5 * 9
    assert all(len(text) == 63 for text in found)
    for secret in secrets:
        assert sum(secret.text() in text for text in found) == secret.copies
    assert len({len(one.text(n)) for one in secrets[:1] for n in (0, 7, 99_999)}) == 1


def test_membership_is_the_probability_that_a_member_has_less_loss():
    random = np.random.default_rng(4)
    same = attacks.membership(random.normal(size=500), random.normal(size=400))
    assert same.low < 0.5 < same.high and same.high - same.low < 0.09
    apart = attacks.membership(random.normal(size=500) - 1, random.normal(size=400))
    assert apart.low > 0.7 and apart.auc == pytest.approx(0.76, abs=0.04)
    # The interval has its confidence.
    within = [
        one.low < 0.5 < one.high
        for one in (attacks.membership(*random.normal(size=(2, 60))) for _ in range(300))
    ]
    assert 0.9 < np.mean(within) <= 0.99


def test_epsilons_of_the_script():
    from benchmarks.epsilons import runs_of

    found = runs_of("inf, 8", 1e-4)
    assert found["8"] == {"dp_epsilon": 8.0, "dp_delta": 1e-4} and found["inf"]["dp_noise"] == 0
    for text in ("0", "a", "", "8,-1"):
        with pytest.raises(InputError, match=r"expected numbers above 0 or inf"):
            runs_of(text, 1e-4)


def exposures(tmp_path, extra):
    """Train as `scripts/canary.py` does; return by run the mean exposure of secrets in eight documents."""
    from benchmarks import canary

    options = types.SimpleNamespace(output_dir=tmp_path, epsilons="inf", steps=500, documents=2000, seed=1)
    return {one["run"]: np.mean(one["exposure_8"]) for one in canary.attacked(options, extra)}


@pytest.mark.slow
def test_privacy_hides_secrets_and_clipping_alone_does_not(tmp_path):
    """Carlini et al. (2019) with 500 steps: bits of exposure of secrets in eight documents each."""
    private = {"dp_delta": 1e-4, "dp_clip": 0.5}
    extra = {"noise": {"dp_noise": 0.6, **private}, "clipped": {"dp_noise": 0.0, **private}}
    found = exposures(tmp_path, extra)
    assert found["inf"] >= 8
    assert found["noise"] <= 4
    assert found["clipped"] >= 8
    assert (tmp_path / "exposure.png").stat().st_size > 5_000
