"""How the weight of a pool's loss grows at the start of a training."""

from __future__ import annotations

import math


def linear_ramp(progress: float, end: float) -> float:
    """Return progress / end, at most 1; 1 where `end` is 0.

    Examples
    --------
    >>> linear_ramp(0.1, 0.4), linear_ramp(0.9, 0.4)
    (0.25, 1.0)
    """
    return 1.0 if progress >= end else progress / end


def gaussian_ramp(progress: float, end: float) -> float:
    """Return exp(-5 (1 - t)^2) with t the linear ramp (Laine & Aila, 2017).

    Examples
    --------
    >>> round(gaussian_ramp(0.0, 0.4), 4), gaussian_ramp(0.4, 0.4)
    (0.0067, 1.0)
    """
    return math.exp(-5 * (1 - linear_ramp(progress, end)) ** 2)
