"""Calibration: one number, or one and a bias for each class, that make confidence mean what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
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


def best_scale_and_biases(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[float, NDArray[np.float64]]:
    """Return what makes held-out labels most likely under softmax(scale * logits + biases).

    With biases the mean probability of each class is its share of the labels, which a temperature alone leaves to
    chance: how frequent classes are elsewhere can be told by such probabilities only. Scale and biases are drawn to 1
    and 0 (a normal prior of unit variance on biases and the scale's logarithm), so that few labels move them little.

    Parameters
    ----------
    logits : ndarray of shape (n, classes)
        Outputs for held-out samples.
    labels : ndarray of shape (n,)
        Their class indices.

    Returns
    -------
    scale : float
        Above 0.
    biases : ndarray of shape (classes,)

    References
    ----------
    Alexandari, Kundaje & Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label
    shift adaptation", 2020.

    Examples
    --------
    >>> logits = np.zeros((1000, 2))  # a net that says nothing
    >>> scale, biases = best_scale_and_biases(logits, np.repeat([0, 1], [750, 250]))
    >>> np.exp(log_softmax(biases)).round(2).tolist()
    [0.75, 0.25]
    """
    logits = np.asarray(logits, np.float64)
    given = np.eye(logits.shape[1])[labels]

    def surprise(found: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, biases = np.exp(found[0]), found[1:]
        log_probabilities = log_softmax(scale * logits + biases, axis=1)
        loss = -(given * log_probabilities).sum() + (found**2).sum() / 2
        wrong = np.exp(log_probabilities) - given
        slope = np.concatenate([[scale * (wrong * logits).sum()], wrong.sum(0)]) + found
        return float(loss), slope

    found = minimize(surprise, np.zeros(1 + logits.shape[1]), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), found[1:]
