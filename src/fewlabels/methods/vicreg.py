"""VICReg: views agree, projections vary, and their parts tell different things."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.methods.pretraining import PretrainingClassifier
from fewlabels.methods.ranges import check_not_below_zero

_FLOOR = 1e-4


@dataclass(kw_only=True, eq=False, repr=False)
class VICReg(PretrainingClassifier):
    """Pretrain an encoder whose projections of two views agree without all being the same, then a classifier.

    Step 1 minimizes, over the projections z and z' of two views of a batch's samples,

        lambda mean |z - z'|^2 / d + mu [v(z) + v(z')] + nu [c(z) + c(z')]

    v(z) = mean over the d dimensions of max(0, 1 - sqrt(var z_j + 0.0001)), c(z) = sum over i != j of cov(z)_ij^2 /
    d. Views are resized crops with other colors; of vectors, noise and features of other rows. Step 2 is that
    of `PretrainingClassifier`.

    See `PretrainingClassifier` for the other parameters.

    Parameters
    ----------
    invariance_weight, variance_weight, covariance_weight : float
        lambda, mu and nu, at least 0.

    References
    ----------
    Bardes, Ponce & LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised learning",
    2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = VICReg(steps=60, batch_size=32, pretraining_batch=64, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    projection_size: int = 256
    pretraining_rate: float = 0.06
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0

    def view_loss(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the three terms."""
        spread = missing_variance(first) + missing_variance(second)
        shared = covariance(first) + covariance(second)
        return {
            "invariance": self.invariance_weight * F.mse_loss(first, second),
            "variance": self.variance_weight * spread,
            "covariance": self.covariance_weight * shared,
        }

    def _check_settings(self) -> None:
        super()._check_settings()
        check_not_below_zero(self, "invariance_weight", "variance_weight", "covariance_weight")


def missing_variance(projections: Tensor) -> Tensor:
    """Return by how much the standard deviation of each dimension falls short of one, on average."""
    return F.relu(1 - (projections.var(0) + _FLOOR).sqrt()).mean()


def covariance(projections: Tensor) -> Tensor:
    """Return the sum of the squared covariances of different dimensions, by their number."""
    centered = projections - projections.mean(0)
    found = centered.T @ centered / (len(projections) - 1)
    others = ~torch.eye(len(found), dtype=torch.bool, device=found.device)
    return (found.square() * others).sum() / len(found)
