"""How far a measured share may be from the true one."""

from __future__ import annotations

from scipy import stats


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of an accuracy measured on `n` independent images.

    Parameters
    ----------
    correct : int
        Number of images classified rightly, from 0 to `n`.
    n : int
        Number of images, at least 1.
    confidence : float
        Share of such intervals that hold the true accuracy, in (0, 1).

    Returns
    -------
    low, high : float
        Within [0, 1].

    Examples
    --------
    >>> low, high = wilson_interval(81, 263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    """
    interval = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
