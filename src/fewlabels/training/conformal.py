"""Prediction sets that hold the true class as often as promised: split conformal prediction."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fewlabels.storage.errors import InputError

# What prediction sets promise unless another share is asked for.
COVERAGE = 0.9


def conformal_scores(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return how badly each held-out sample's true class was predicted: 1 minus its probability, sorted.

    Parameters
    ----------
    probabilities : ndarray of shape (n, classes)
        Of held-out samples, which the net has not learned from.
    labels : ndarray of shape (n,)
        Their class indices.

    Returns
    -------
    ndarray of shape (n,)
        Ascending, in [0, 1].

    Examples
    --------
    >>> conformal_scores(np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([1, 0])).tolist()
    [0.5, 0.75]
    """
    return np.sort(1 - np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels])


def conformal_threshold(scores: NDArray[np.float64], coverage: float) -> float:
    """Return the largest score that a class may have to be in a prediction set.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of held-out samples, ascending.
    coverage : float
        Share of the sets that hold the true class, as promised; in (0, 1).

    Returns
    -------
    float
        Infinity, which takes all classes, where `scores` are fewer than `needed_for(coverage)`.

    Raises
    ------
    InputError
        If the coverage is not in (0, 1).

    Examples
    --------
    >>> conformal_threshold(np.linspace(0.05, 0.95, 19), 0.9)  # the 18th of 19
    0.9
    >>> conformal_threshold(np.linspace(0.2, 0.8, 4), 0.9)
    inf
    """
    rank = _rank(len(scores), coverage)
    return math.inf if rank > len(scores) else float(scores[rank - 1])


def conformal_sets(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Return which classes are in the prediction set of each sample; the most probable one always is.

    Parameters
    ----------
    probabilities : ndarray of shape (n, classes)
    threshold : float
        Of `conformal_threshold`.

    Returns
    -------
    ndarray of bool, shape (n, classes)

    Examples
    --------
    >>> conformal_sets(np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]]), 0.7).tolist()
    [[True, False, False], [True, True, False]]
    """
    # An equal score belongs to the set, whichever way its last digit was rounded.
    sets = 1 - probabilities <= threshold + 1e-9
    sets[np.arange(len(sets)), probabilities.argmax(1)] = True
    return np.asarray(sets)


def needed_for(coverage: float) -> int:
    """Return how many held-out samples a coverage needs, so that its sets are not simply all classes.

    Examples
    --------
    >>> needed_for(0.9), needed_for(0.95), needed_for(0.99)
    (9, 19, 99)
    """
    _check(coverage)
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def coverage_spread(held_out: int, coverage: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return within which limits the coverage lies for most draws of the held-out samples.

    The promise is kept on average over draws. With one draw, coverage over many new samples follows a beta
    distribution, which is narrow where many samples were held out.

    Parameters
    ----------
    held_out : int
        Number of held-out samples.
    coverage : float
        As promised, in (0, 1).
    confidence : float
        Share of the draws within the limits, in (0, 1).

    Returns
    -------
    low, high : float
        Both 1 where there are too few samples, as the sets are then all classes.

    References
    ----------
    Vovk, "Conditional validity of inductive conformal predictors", 2012.

    Examples
    --------
    >>> [round(limit, 3) for limit in coverage_spread(1000, 0.9)]
    [0.881, 0.918]
    """
    rank = _rank(held_out, coverage)
    if rank > held_out:
        return 1.0, 1.0
    low, high = stats.beta.ppf([(1 - confidence) / 2, (1 + confidence) / 2], rank, held_out + 1 - rank)
    return float(low), float(high)


def _rank(held_out: int, coverage: float) -> int:
    _check(coverage)
    return math.ceil(coverage * (held_out + 1) - 1e-9)


def _check(coverage: float) -> None:
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise InputError(f"coverage={coverage!r} is not between 0 and 1; 0.9 promises the true class in 9 sets of 10")
