"""Whether probabilities are right: of the answers that a model gives 80 %, 80 % should be right.

n predictions, C classes.
"""

import numpy as np

BINS = 15
"""Bins of confidence, of equal width."""

TEMPERATURES = (0.05, 20.0)
"""The lowest and the highest temperature that is fitted."""


def calibration(confidence: np.ndarray, correct: np.ndarray) -> dict:
    """Compare the confidence of predictions with their accuracy.

    Args:
        confidence: [n], the probability of each predicted class.
        correct: [n] bool, whether it is the true one.

    Returns:
        `expected_calibration_error`: the mean distance of confidence and accuracy over `BINS` bins of
        confidence, weighted by their predictions; None without any. `bins`: for each bin that has
        predictions its `low` and `high` end, its `count`, and the mean `confidence` and `accuracy` in it.

    Reference: Guo et al. (2017), section 2, equation 3.
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    # A bin has its upper end, as in the reference.
    number = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(number, minlength=BINS)
    sums = np.bincount(number, confidence, BINS), np.bincount(number, correct, BINS)
    bins = [
        {
            "low": k / BINS, "high": (k + 1) / BINS, "count": int(counts[k]),
            "confidence": float(sums[0][k] / counts[k]), "accuracy": float(sums[1][k] / counts[k]),
        }
        for k in np.flatnonzero(counts).tolist()
    ]  # fmt: skip
    error = float(np.sum(np.abs(sums[0] - sums[1])) / len(confidence)) if len(confidence) else None
    return {"expected_calibration_error": error, "bins": bins}


def scaled(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities [..., C] at another temperature, normalized again."""
    logits = log_probabilities / temperature
    logits = logits - np.max(logits, axis=-1, keepdims=True)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def fitted_temperature(log_probabilities: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature that gives true classes the highest likelihood, within `TEMPERATURES`.

    The likelihood is concave in 1 / temperature, so its derivative has one zero, which bisection finds.

    Args:
        log_probabilities: [n, C], of a split that the model was not trained on.
        true: [n], whole numbers from 0 to C - 1. Without any the temperature is 1.

    Reference: Guo et al. (2017), section 4.2.
    """
    if not len(true):
        return 1.0
    logits = np.asarray(log_probabilities, float)
    chosen = logits[np.arange(len(true)), true].mean()
    low, high = np.log(TEMPERATURES)
    for _ in range(50):
        middle = (low + high) / 2
        probabilities = np.exp(scaled(logits, np.exp(middle)))
        too_hot = np.sum(probabilities * logits) / len(true) < chosen
        low, high = (low, middle) if too_hot else (middle, high)
    return float(np.exp((low + high) / 2))
