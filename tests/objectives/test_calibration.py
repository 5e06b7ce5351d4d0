"""Calibration by hand, and the fitted temperature against a search through many."""

import numpy as np
import pytest

from lm_keras.objectives import calibration
from lm_keras.objectives.calibration import fitted_temperature, scaled


def random_predictions(seed, temperature, n=4000, classes=3):
    """Log-probabilities at a temperature, and classes drawn from those at temperature 1."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, classes))
    honest = np.exp(scaled(logits, 1.0))
    true = np.array([random.choice(classes, p=row) for row in honest])
    return scaled(logits, temperature), true


def test_by_hand():
    found = calibration.calibration([0.95, 0.98, 0.4, 0.55], [True, False, True, True])
    # Bins of 1/15: 0.95 and 0.98 share the last one, 0.4 is the upper end of the sixth.
    assert [row["count"] for row in found["bins"]] == [1, 1, 2]
    assert [row["low"] for row in found["bins"]] == pytest.approx([5 / 15, 8 / 15, 14 / 15])
    assert found["bins"][2]["confidence"] == pytest.approx(0.965)
    assert found["bins"][2]["accuracy"] == 0.5
    expected = (abs(0.4 - 1) + abs(0.55 - 1) + abs(0.95 + 0.98 - 1)) / 4
    assert found["expected_calibration_error"] == pytest.approx(expected)


def test_the_ends_of_the_scale_have_a_bin():
    assert [row["count"] for row in calibration.calibration([0.0, 1.0], [0, 1])["bins"]] == [1, 1]
    assert calibration.calibration([], []) == {"expected_calibration_error": None, "bins": []}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_has_the_least_loss(temperature):
    log_probabilities, true = random_predictions(1, temperature)
    found = fitted_temperature(log_probabilities, true)

    def loss(candidate):
        return -np.mean(scaled(log_probabilities, candidate)[np.arange(len(true)), true])

    grid = np.exp(np.linspace(*np.log(calibration.TEMPERATURES), 2000))
    best = grid[np.argmin([loss(candidate) for candidate in grid])]
    assert found == pytest.approx(best, rel=0.005)
    assert found == pytest.approx(1 / temperature, rel=0.1)  # Which gives the honest probabilities again.


def test_the_temperature_lowers_the_error():
    log_probabilities, true = random_predictions(2, 0.4)

    def error(values):
        best = values.argmax(-1)
        found = calibration.calibration(np.exp(values.max(-1)), best == true)
        return found["expected_calibration_error"]

    better = scaled(log_probabilities, fitted_temperature(log_probabilities, true))
    assert error(better) < 0.03 < 0.08 < error(log_probabilities)


def test_a_perfect_model_gets_the_lowest_temperature():
    log_probabilities = np.log(np.array([[0.6, 0.4], [0.3, 0.7]]))
    lowest, highest = calibration.TEMPERATURES
    assert fitted_temperature(log_probabilities, np.array([0, 1])) == pytest.approx(lowest)
    assert fitted_temperature(log_probabilities, np.array([1, 0])) == pytest.approx(highest)
    assert fitted_temperature(np.zeros([0, 2]), np.array([], int)) == 1.0


def test_scaled_is_normalized():
    log_probabilities, _ = random_predictions(3, 1.0, n=5)
    assert np.exp(scaled(log_probabilities, 3.0)).sum(-1) == pytest.approx(np.ones(5))
