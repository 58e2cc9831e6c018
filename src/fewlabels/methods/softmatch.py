"""SoftMatch: every guess counts, the less the further its confidence is below the usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fewlabels.methods.consistency import consistency, probabilities, strong_logits
from fewlabels.methods.online import SHORT, OnlineClassifier
from fewlabels.methods.ranges import check_above_zero, check_within
from fewlabels.methods.running import RunningMean, aligned, uniform
from fewlabels.methods.session import Session
from fewlabels.training.batches import Batch


class ConfidenceCurve:
    """A Gaussian that is fitted to the confidences seen, and cut off above its mean.

    Parameters
    ----------
    classes : int
        Number of classes.
    decay : float
        Of the running means, in [0, 1).
    device : torch.device
        Where they are kept.
    target : Tensor, optional
        What the mean of aligned probabilities becomes, (classes,); uniform when not given.
    """

    def __init__(self, classes: int, decay: float, device: torch.device, target: Tensor | None = None) -> None:
        start = uniform(classes, device)
        self.mean = RunningMean(start[0], decay)
        self.variance = RunningMean(torch.ones((), device=device), decay)
        self.probabilities = RunningMean(start, decay)
        self.target = start if target is None else target

    def update(self, confidences: Tensor) -> None:
        """Take note of a batch's confidences."""
        self.mean.update(confidences.mean())
        self.variance.update(confidences.var(correction=1) if len(confidences) > 1 else self.variance.value)

    def weights(self, confidences: Tensor, width: float) -> Tensor:
        """Return exp(-min(c - mean, 0)^2 / (2 variance / width^2)): 1 from the mean on, less below it."""
        below = (confidences - self.mean.value).clamp_max(0)
        return torch.exp(-below.square() * width**2 / (2 * self.variance.value.clamp_min(1e-12)))


@dataclass(kw_only=True, eq=False, repr=False)
class SoftMatch(OnlineClassifier):
    """Pseudo-labels of all pool samples, weighted by how sure the net is compared with usual.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + mu g(max a(p(w(u)))) H(argmax p(w(u)), p(s(u)))

    with weak views w and strong views s, where g(c) = exp(-min(c - m, 0)^2 / (2 d^2 / n^2)), m and d^2 being
    running mean and variance of the confidences, and a aligns probabilities so that their running mean becomes
    uniform, or as was estimated of the pool (used for the weights alone).

    `preset="short"` is for minutes, as FixMatch's, with running means that follow faster.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is mu.

    Parameters
    ----------
    mean_decay : float
        Of the running means, in [0, 1).
    width : float
        n, > 0: the larger, the sooner weights fall below the mean.
    align : bool
        Whether to align; off for a pool whose classes are not equally frequent.

    References
    ----------
    Chen et al., "SoftMatch: addressing the quantity-quality trade-off in semi-supervised learning", 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = SoftMatch(preset="short", steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    _threshold_moves: ClassVar[bool] = True

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"short": SHORT | {"mean_decay": 0.99}}

    mean_decay: float = 0.999
    width: float = 2.0
    align: bool = True

    def _new_state(self, session: Session) -> ConfidenceCurve:
        return ConfidenceCurve(session.classes, self.mean_decay, session.device, session.prior())

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted cross-entropy of strong views to the classes of weak views."""
        found = probabilities(teacher, batch.views.weak(batch.pool))
        weighed = found
        if self.align:
            seen = self._state.probabilities.update(found.mean(0))
            weighed = aligned(found, self._state.target, seen)
        confidences = weighed.amax(1)
        self._state.update(confidences)
        logits = strong_logits(nets, batch)
        weights = self._state.weights(confidences, self.width)
        return {"consistency": self.unlabeled_weight * consistency(logits, found.argmax(1), weights)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "mean_decay")
        check_above_zero(self, "width")
