"""Do two parts look as if they came from the same place? A classifier that tries to tell them apart, and stretching."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fewlabels.checks.looks import COARSE
from fewlabels.data.rows import ImageRows

# Told apart in so many of a hundred pairs, where a coin tells 50; chosen on draws of CIFAR-10's training images, where
# parts from the same place came to 48 to 53 and a pool of which two fifths are other classes to 60 and 68.
TOLD_APART = 0.6
# An image squeezed from 4:3 to a square is stretched by 1.33, of which blurred photos show 1.19; parts of CIFAR-10 from
# the same place came to 1.03, and 1.11 where two fifths of one are other classes.
STRETCHED = 1.15
_MOST_IMAGES = 2000
_FEWEST_IMAGES = 20
_SMALLEST_SIDE = 3
_FOLDS = 5
_ERRORS = 3.0
_STRETCH_ERRORS = 5.0
_DIRECTIONS = 8
_CELLS = 4
_CHUNK = 500


@dataclass(frozen=True)
class Shift:
    """How far two parts can be told apart.

    Attributes
    ----------
    told_apart : float
        Area under the ROC curve of a classifier on images that it has not learned from: the share of pairs, one image
        of each part, of which it says rightly which is which. 0.5 for parts from the same place, 1 for others.
    error : float
        Its standard error.
    stretch : float
        How much wider at least the second part's images look stretched than the first's: 1 for not at all, below 1 for
        taller.
    stretch_errors : float
        How many standard errors the logarithm of that is from 0.
    """

    told_apart: float
    error: float
    stretch: float
    stretch_errors: float

    @property
    def is_shifted(self) -> bool:
        """Whether the parts differ by more than chance and by enough to matter."""
        return self.told_apart >= TOLD_APART and self.told_apart - _ERRORS * self.error > 0.5

    @property
    def is_stretched(self) -> bool:
        """Whether one part looks stretched by more than chance and by enough to matter."""
        return abs(math.log(self.stretch)) >= math.log(STRETCHED) and abs(self.stretch_errors) >= _STRETCH_ERRORS


def compare_parts(one: ImageRows, other: ImageRows) -> Shift | None:
    """Return how far two parts can be told apart; None where one has fewer than 20 images, or they have no insides.

    A logistic regression on what a glance shows (colors and brightness on 8 x 8 areas, strength of edges by place and
    direction, sharpness) learns from four fifths of at most 2,000 images of each and is asked about the rest, in turn.

    Parameters
    ----------
    one, other : ImageRows
        uint8 images of one shape, (n, height, width, channels).

    References
    ----------
    Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", ICLR 2017. Hanley & McNeil, "The meaning and use of the
    area under a receiver operating characteristic (ROC) curve", Radiology 1982.
    """
    if min(len(one), len(other)) < _FEWEST_IMAGES or min(one.shape[1:3]) < _SMALLEST_SIDE:
        return None
    glances, slants = zip(*(_glances(part.take(_sample(len(part)))) for part in (one, other)), strict=True)
    where = np.repeat([0, 1], [len(glance) for glance in glances])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, class_weight="balanced", max_iter=300))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        told = cross_val_predict(model, np.concatenate(glances), where, cv=folds, method="decision_function")
    area = float(roc_auc_score(where, told))
    difference = float(slants[0].mean() - slants[1].mean())
    spread = math.sqrt(sum(float(slant.var()) / len(slant) for slant in slants))
    return Shift(
        area,
        _error(area, *(len(glance) for glance in glances)),
        # Stretching to twice the width halves a smooth image's steps from pixel to pixel and quarters their squares.
        math.exp(difference / 2),
        difference / max(spread, 1e-9),
    )


def _sample(count: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:_MOST_IMAGES])


def _glances(images: ImageRows) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return what a glance shows of each image, and the logarithm of its steps across over those down, squared."""
    glances, slants = [], []
    for start in range(0, len(images), _CHUNK):
        values = (
            torch.from_numpy(np.ascontiguousarray(images[start : start + _CHUNK])).permute(0, 3, 1, 2).float() / 255
        )
        gray = values.mean(1, keepdim=True)
        across, down = gray[..., :, 1:] - gray[..., :, :-1], gray[..., 1:, :] - gray[..., :-1, :]
        slants.append(((across**2).mean((1, 2, 3)) + 1e-5).log() - ((down**2).mean((1, 2, 3)) + 1e-5).log())
        glances.append(
            torch.cat(
                [
                    F.adaptive_avg_pool2d(values, COARSE).flatten(1),
                    _edges(gray).sqrt(),
                    values.mean((2, 3)),
                    values.std((2, 3)),
                    (values.amax(1) - values.amin(1)).mean((1, 2))[:, None],
                    _sharpness(gray),
                ],
                dim=1,
            )
        )
    return torch.cat(glances).numpy(), torch.cat(slants).double().numpy()


def _edges(gray: Tensor) -> Tensor:
    """Return the strength of edges by place and direction, (n, 128)."""
    across = gray[..., 1:-1, 2:] - gray[..., 1:-1, :-2]
    down = gray[..., 2:, 1:-1] - gray[..., :-2, 1:-1]
    strength = (across**2 + down**2).sqrt()
    direction = (torch.remainder(torch.atan2(down, across), math.pi) / math.pi * _DIRECTIONS).floor() % _DIRECTIONS
    return torch.cat(
        [F.adaptive_avg_pool2d(strength * (direction == k), _CELLS).flatten(1) for k in range(_DIRECTIONS)], dim=1
    )


def _sharpness(gray: Tensor) -> Tensor:
    middle = gray[..., 1:-1, 1:-1]
    around = gray[..., 2:, 1:-1] + gray[..., :-2, 1:-1] + gray[..., 1:-1, 2:] + gray[..., 1:-1, :-2]
    return (4 * middle - around).abs().mean((2, 3))


def _error(area: float, count: int, other: int) -> float:
    """Return Hanley and McNeil's standard error of an area under the ROC curve."""
    both, same = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (other - 1) * (both - area**2) + (count - 1) * (same - area**2)
    return math.sqrt(max(variance, 0.0) / (count * other))
