"""Whether one method beats another on the same test images and the same draws of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class PairedTest:
    """A difference in accuracy, its 95 % interval, and how often chance alone gives as much.

    Attributes
    ----------
    difference : float
        Accuracy of the first minus that of the second, as a fraction.
    low, high : float
        95 % interval.
    p_value : float
        Two-sided: McNemar's exact test with one seed, a paired t test over seeds with several.
    mcnemar_p : float
        McNemar's exact test over the test images of all seeds together.
    seeds : int
        Number of pairs of runs.
    """

    difference: float
    low: float
    high: float
    p_value: float
    mcnemar_p: float
    seeds: int


def compare_pairs(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]
) -> PairedTest:
    """Compare two methods that were run on the same draws and tested on the same images.

    With one seed, what varies is which images are in the test: McNemar's exact test and the interval of a
    paired difference. With several, the runs themselves vary: a paired t test over their accuracies.

    Parameters
    ----------
    first, second : sequence of ndarray of bool
        For each seed, which test images each method got right.

    Examples
    --------
    >>> first = np.array([True] * 90 + [False] * 10)
    >>> second = np.array([True] * 80 + [False] * 20)
    >>> found = compare_pairs([first], [second])
    >>> round(found.difference, 3), found.p_value < 0.01
    (0.1, True)
    """
    differences = np.array([a.mean() - b.mean() for a, b in zip(first, second, strict=True)])
    only_first = sum(int((a & ~b).sum()) for a, b in zip(first, second, strict=True))
    only_second = sum(int((~a & b).sum()) for a, b in zip(first, second, strict=True))
    mcnemar = mcnemar_p(only_first, only_second)
    mean = float(differences.mean())
    if len(differences) == 1:
        paired = first[0].astype(float) - second[0].astype(float)
        half = float(stats.norm.ppf(0.975) * paired.std() / math.sqrt(len(paired)))
        return PairedTest(mean, mean - half, mean + half, mcnemar, mcnemar, 1)
    spread = float(differences.std(ddof=1) / math.sqrt(len(differences)))
    if spread == 0:
        p_value = 1.0 if mean == 0 else 0.0
        return PairedTest(mean, mean, mean, p_value, mcnemar, len(differences))
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * spread
    p_value = float(2 * stats.t.sf(abs(mean) / spread, len(differences) - 1))
    return PairedTest(mean, mean - half, mean + half, p_value, mcnemar, len(differences))


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Parameters
    ----------
    only_first, only_second : int
        Images that only the one or only the other got right.

    Examples
    --------
    >>> round(mcnemar_p(6, 16), 3)
    0.052
    """
    count = only_first + only_second
    return 1.0 if count == 0 else float(stats.binomtest(only_first, count).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for having made several tests (Holm's method).

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
