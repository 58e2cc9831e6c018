"""Confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Parameters
    ----------
    correct, count : int
        Number of right answers, and of all; `count` at least 1.
    confidence : float
        In (0, 1).

    Examples
    --------
    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    found = stats.binomtest(correct, count).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of a few repetitions and its t interval (NaN bounds for a single one).

    Examples
    --------
    >>> [round(x, 3) for x in mean_interval([0.7, 0.72, 0.74])]
    [0.72, 0.67, 0.77]
    """
    array = np.asarray(values, float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return mean, mean - half, mean + half
