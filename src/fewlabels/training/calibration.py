"""Temperature scaling: one number that makes confidence mean what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_SMALLEST, _LARGEST = 0.05, 20.0


def best_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the temperature that makes held-out labels most likely under softmax(logits / temperature).

    Parameters
    ----------
    logits : ndarray of shape (n, classes)
        Outputs for held-out samples.
    labels : ndarray of shape (n,)
        Their class indices.

    Returns
    -------
    float
        Between 0.05 and 20; above 1 for an overconfident net. 1 when there is nothing to measure on.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", 2017. Targets: Platt, "Probabilistic outputs for
    support vector machines", 1999.

    Examples
    --------
    >>> logits = np.array([[4.0, 0.0]] * 4)
    >>> best_temperature(logits, np.array([0, 0, 0, 1])) > 2  # as sure as 98 %, right in 75 %
    True
    """
    if len(labels) == 0:
        return 1.0
    rows = np.arange(len(labels))
    # Ten right answers of ten are no proof of certainty: Platt's targets leave room for the next to be wrong.
    doubt = 1 / (len(labels) + 2)

    def surprise(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        right, even = log_probabilities[rows, labels].mean(), log_probabilities.mean()
        return float(-(1 - doubt) * right - doubt * even)

    found = minimize_scalar(surprise, bounds=(np.log(_SMALLEST), np.log(_LARGEST)), method="bounded")
    return float(np.exp(found.x))
