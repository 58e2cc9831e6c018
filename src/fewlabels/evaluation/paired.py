"""Is one classifier better than another on the same images? Paired tests, and many of them at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fewlabels.evaluation.intervals import mean_interval


@dataclass(frozen=True)
class PairedResult:
    """How much more accurate B is than A on the same images.

    Attributes
    ----------
    difference : float
        Accuracy of B minus accuracy of A, in [-1, 1]; the mean over the seeds.
    low, high : float
        95 % interval of the difference: over test images for one seed; for more, as wide as that and Student's over
        seeds together, since test images are a draw as well.
    p_value : float
        Two-sided. One seed: McNemar's exact test, about these two trained classifiers. More: the larger of
        `image_p_value` and a paired t test over seeds, so that a difference has to hold for both.
    image_p_value : float
        The exact test over test images, also where there are several seeds.
    images : int
        Number of test images.
    seed_differences : tuple of float
        The difference in each seed.
    error_reduction : float
        Share of A's wrong answers that B spares; below 0 where B errs more, NaN where A makes no mistake.
    cohens_g : float
        Effect size over images: of those that only one of the two gets right, the share that B gets, minus a half;
        0.05 is called small, 0.15 medium, 0.25 large. 0 where there are none.
    cohens_d : float
        Effect size over seeds: mean of the differences by their standard deviation; NaN for one seed, infinite for
        differences that are all the same.

    References
    ----------
    Cohen, "Statistical power analysis for the behavioral sciences", 1988.
    """

    difference: float
    low: float
    high: float
    p_value: float
    image_p_value: float
    images: int
    seed_differences: tuple[float, ...]
    error_reduction: float = math.nan
    cohens_g: float = 0.0
    cohens_d: float = math.nan


def mcnemar_test(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> PairedResult:
    """Compare two classifiers by the images that only one of them gets right: McNemar's exact test.

    Parameters
    ----------
    correct_a, correct_b : ndarray of bool, shape (n,)
        Whether A and B classified each image rightly.

    Returns
    -------
    PairedResult
        The interval is Bonett and Price's adjusted Wald interval, which holds for small samples too.

    References
    ----------
    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947. Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", J. Educational and Behavioral Statistics 2012.

    Examples
    --------
    >>> a = np.array([True] * 10 + [False] * 10)
    >>> b = np.array([True] * 19 + [False])
    >>> result = mcnemar_test(a, b)
    >>> round(result.difference, 2), round(result.p_value, 4)
    (0.45, 0.0039)
    """
    a, b = _same_images(correct_a, correct_b)
    n = len(a)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p_value = float(stats.binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    low, high = _image_interval(b.astype(int) - a.astype(int), 1)
    difference = (only_b - only_a) / n
    reduction, g, _ = _effects([(a, b)])
    return PairedResult(difference, low, high, p_value, p_value, n, (difference,), reduction, g)


def compare_over_seeds(correct_a: Sequence[NDArray[np.bool_]], correct_b: Sequence[NDArray[np.bool_]]) -> PairedResult:
    """Compare two methods that were each trained with several seeds and tested on the same images.

    With one seed this is `mcnemar_test`. With more, draws of labels and initial weights vary too: the
    difference has to hold over seeds, by a paired t test, and over images. Either alone can be fooled, the
    first by two seeds that happen to agree, the second by models that were lucky in their draw.

    Pooling all seeds' answers in one McNemar test would count an image once a seed, as if it were another
    image each time; here it counts once, with the sum of its differences (see `sign_flip_p_value`).

    Parameters
    ----------
    correct_a, correct_b : sequence of ndarray of bool, shape (n,)
        For each seed, whether A and B classified each image rightly; the images are the same in all.

    Returns
    -------
    PairedResult

    Examples
    --------
    >>> a = [np.array([True, False, False, False])] * 2
    >>> b = [np.array([True, True, True, False])] * 2
    >>> compare_over_seeds(a, b).seed_differences
    (0.5, 0.5)
    """
    pairs = [_same_images(a, b) for a, b in zip(correct_a, correct_b, strict=True)]
    if len(pairs) == 1:
        return mcnemar_test(*pairs[0])
    gains = np.sum([b.astype(int) - a.astype(int) for a, b in pairs], axis=0)
    per_seed = tuple(float(b.mean() - a.mean()) for a, b in pairs)
    difference, low, high = mean_interval(per_seed)
    image_low, image_high = _image_interval(gains, len(pairs))
    over_images = sign_flip_p_value(gains)
    return PairedResult(
        difference,
        max(-1.0, min(low, image_low)),
        min(1.0, max(high, image_high)),
        max(_t_test(per_seed), over_images),
        over_images,
        len(gains),
        per_seed,
        *_effects(pairs),
    )


def sign_flip_p_value(gains: NDArray[np.int64]) -> float:
    """Return the exact two-sided p-value of the total of `gains` when each one's sign is a coin flip.

    For gains of -1, 0 and 1 this is McNemar's exact test.

    Parameters
    ----------
    gains : ndarray of int, shape (n,)
        Small whole numbers.

    Examples
    --------
    >>> sign_flip_p_value(np.array([1, 1, 1, 2]))
    0.125
    """
    sizes = np.abs(gains)
    # How likely each sum of the gains with a positive sign is: the total is twice that less the sum of all sizes.
    chances = np.ones(1)
    for size in range(1, int(sizes.max(initial=0)) + 1):
        count = int((sizes == size).sum())
        flips = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        # Sums that are a multiple of the size apart: without the zeros in between, which take most of the time.
        spread = np.zeros(len(chances) + size * count)
        for first in range(min(size, len(chances))):
            with_it = np.convolve(chances[first::size], flips)
            spread[first::size][: len(with_it)] = with_it
        chances = spread
    totals = 2 * np.arange(len(chances)) - int(sizes.sum())
    return float(min(1.0, chances[np.abs(totals) >= abs(int(gains.sum()))].sum()))


def _image_interval(gains: NDArray[np.int64], seeds: int) -> tuple[float, float]:
    """Return Bonett and Price's interval of the mean difference, given each image's sum of differences over seeds."""
    # Two images more, of which A alone gets one right in every seed, and B alone the other.
    count = len(gains) + 2
    center = gains.sum() / seeds / count
    square = ((gains / seeds) @ (gains / seeds) + 2) / count
    half = stats.norm.ppf(0.975) * math.sqrt((square - center**2) / count)
    return max(-1.0, float(center - half)), min(1.0, float(center + half))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method, in the order given.

    Calling those below a level significant then errs in at most that share of comparisons, over all of them
    together.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, position in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return [float(p) for p in corrected]


def _effects(pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> tuple[float, float, float]:
    """Return the error reduction, Cohen's g over the images of all seeds, and his d over seeds."""
    errors_a, errors_b = (sum(int((~pair[side]).sum()) for pair in pairs) for side in (0, 1))
    only_a, only_b = (sum(int((pair[side] & ~pair[1 - side]).sum()) for pair in pairs) for side in (0, 1))
    reduction = (errors_a - errors_b) / errors_a if errors_a else math.nan
    g = only_b / (only_a + only_b) - 0.5 if only_a + only_b else 0.0
    if len(pairs) < 2:
        return reduction, g, math.nan
    differences = [float(b.mean() - a.mean()) for a, b in pairs]
    mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if spread < 1e-12:
        return reduction, g, math.copysign(math.inf, mean) if abs(mean) > 1e-12 else 0.0
    return reduction, g, mean / spread


def _same_images(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"a paired test needs the same images for both, got shapes {a.shape} and {b.shape}")
    return a, b


def _t_test(differences: Sequence[float]) -> float:
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    if error < 1e-12:
        # Without any spread but that of rounding the t statistic is 0/0 or infinite.
        return 1.0 if abs(mean) < 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(mean / error), len(differences) - 1))
