"""How far a measured accuracy may be from the true one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from fewlabels.training.intervals import wilson_interval

__all__ = ["mean_interval", "wilson_interval"]


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of one measurement per seed and Student's interval of it.

    Parameters
    ----------
    values : sequence of float
        One value a seed; with a single one there is no interval and its bounds are NaN.
    confidence : float
        In (0, 1).

    Returns
    -------
    mean, low, high : float

    Examples
    --------
    >>> [round(value, 3) for value in mean_interval([0.7, 0.72, 0.74])]
    [0.72, 0.67, 0.77]
    """
    numbers = np.asarray(values, float)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(numbers) - 1) * stats.sem(numbers))
    return mean, mean - half, mean + half
