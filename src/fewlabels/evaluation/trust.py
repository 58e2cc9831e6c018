"""How far probabilities can be trusted: calibration, prediction sets, and accuracy on what a model is sure of."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.training.conformal import conformal_sets, conformal_threshold, coverage_spread, needed_for

COVERAGES = (0.8, 0.9, 0.95)
_BINS = 10
_KEPT_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose guess was given a probability within some limits.

    Attributes
    ----------
    low, high : float
        The limits; the lower one is not within, but for 0.
    images : int
    confidence : float
        Mean probability of the guesses.
    accuracy : float
        Share of them that are right.
    accuracy_low, accuracy_high : float
        95 % interval of the share.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True)
class PredictionSets:
    """What split conformal prediction promised, and what it kept on test images.

    Attributes
    ----------
    promised : float
        Share of the sets that are to hold the true class.
    held_out : int
        Images that the sets go by.
    needed : int
        With fewer, a set is simply all classes.
    spread_low, spread_high : float
        Where the coverage lies for 95 of 100 draws of the held-out images, as theory says.
    kept, kept_low, kept_high : float
        Share of the sets of test images that hold the true class, with its 95 % interval.
    mean_size : float
        Classes a set.
    single_share : float
        Share of the sets that are one class alone.
    """

    promised: float
    held_out: int
    needed: int
    spread_low: float
    spread_high: float
    kept: float
    kept_low: float
    kept_high: float
    mean_size: float
    single_share: float

    @property
    def is_enough(self) -> bool:
        """Whether so many images were held out that the sets say something."""
        return self.held_out >= self.needed


@dataclass(frozen=True)
class Trust:
    """How far the probabilities that a model gave the test images can be trusted.

    Attributes
    ----------
    calibration_error : float
        Expected calibration error over ten bins of equal width: how far confidence and accuracy are apart on average.
    brier_score : float
        Mean squared distance of the probabilities from the truth, summed over classes: from 0, perfect, to 2.
    mean_confidence : float
        Mean probability of the guesses; above the accuracy, a model is too sure of itself.
    bins : tuple of ReliabilityBin
        Those with images, from low to high confidence.
    selective : tuple of (float, float)
        Share of the images that are answered, the surest first, and the accuracy on them.
    selective_error : float
        Mean share of wrong answers over all such shares (the area under the risk-coverage curve).
    sets : tuple of PredictionSets
        One a coverage of `COVERAGES`; empty where they were not measured.
    """

    calibration_error: float
    brier_score: float
    mean_confidence: float
    bins: tuple[ReliabilityBin, ...]
    selective: tuple[tuple[float, float], ...]
    selective_error: float
    sets: tuple[PredictionSets, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Trust:
        """Return what `to_dict` gave, or JSON made of it."""
        parts = {
            "bins": tuple(ReliabilityBin(**one) for one in values["bins"]),
            "selective": tuple((float(share), float(accuracy)) for share, accuracy in values["selective"]),
            "sets": tuple(PredictionSets(**one) for one in values["sets"]),
        }
        return Trust(**{**values, **parts})


def measure_trust(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64] | None = None,
) -> Trust:
    """Return how far probabilities can be trusted.

    Parameters
    ----------
    probabilities : ndarray of shape (n, classes)
        Of test images.
    labels : ndarray of shape (n,)
        Their class indices.
    scores : ndarray, optional
        `conformal_scores_` of the method, which prediction sets go by.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", 2017. Brier, "Verification of forecasts expressed in terms
    of probability", 1950. Geifman & El-Yaniv, "Selective classification for deep neural networks", 2017.

    Examples
    --------
    >>> found = measure_trust(np.array([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]]), np.array([0, 1, 1, 1]))
    >>> round(found.calibration_error, 2), round(found.brier_score, 3), found.selective[0]
    (0.3, 0.43, (1.0, 0.75))
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    selective, error = _selective(confidence, right)
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(labels)), labels] = 1
    bins = reliability_bins(confidence, right)
    return Trust(
        calibration_error=sum(one.images * abs(one.accuracy - one.confidence) for one in bins) / len(labels),
        brier_score=float(((probabilities - truth) ** 2).sum(1).mean()),
        mean_confidence=float(confidence.mean()),
        bins=bins,
        selective=selective,
        selective_error=error,
        sets=() if scores is None else tuple(_sets(probabilities, labels, scores, share) for share in COVERAGES),
    )


def reliability_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Return accuracy by confidence, in ten bins of equal width; bins without images are left out.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
        Probability of each guess.
    right : ndarray of bool, shape (n,)
        Whether it is right.
    """
    # Limits as decimal fractions: 0.3 is not to fall out of its bin because 3 * 0.1 is a little more.
    limits = np.arange(_BINS + 1) / _BINS
    place = np.clip(np.searchsorted(limits, confidence, side="left") - 1, 0, _BINS - 1)
    found = []
    for number in np.unique(place):
        here = place == number
        count, good = int(here.sum()), int(right[here].sum())
        mean = float(confidence[here].mean())
        found.append(
            ReliabilityBin(
                float(limits[number]),
                float(limits[number + 1]),
                count,
                mean,
                good / count,
                *wilson_interval(good, count),
            )
        )
    return tuple(found)


def _selective(
    confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[tuple[tuple[float, float], ...], float]:
    """Return accuracy on the surest shares, and the mean error over all shares.

    Images of equal confidence are answered together or not at all, so each counts with their mean.
    """
    _, group = np.unique(-confidence, return_inverse=True)
    order = np.argsort(group, kind="stable")
    means = np.bincount(group, weights=right) / np.bincount(group)
    accuracy = np.cumsum(means[group[order]]) / np.arange(1, len(right) + 1)
    curve = tuple((share, float(accuracy[max(1, math.ceil(share * len(right))) - 1])) for share in _KEPT_SHARES)
    return curve, float((1 - accuracy).mean())


def _sets(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], scores: NDArray[np.float64], promised: float
) -> PredictionSets:
    # A class that a model does not know is in none of its sets.
    sets = conformal_sets(probabilities, conformal_threshold(scores, promised)) & (probabilities > 0).any(0)
    held = int(sets[np.arange(len(labels)), labels].sum())
    low, high = wilson_interval(held, len(labels))
    sizes = sets.sum(1)
    return PredictionSets(
        promised,
        len(scores),
        needed_for(promised),
        *coverage_spread(len(scores), promised),
        held / len(labels),
        low,
        high,
        float(sizes.mean()),
        float((sizes == 1).mean()),
    )
