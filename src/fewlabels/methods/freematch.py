"""FreeMatch: thresholds that follow the net's own confidence, and fairness between classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fewlabels.methods.consistency import consistency, probabilities, strong_logits
from fewlabels.methods.online import SHORT, OnlineClassifier
from fewlabels.methods.ranges import check_not_below_zero, check_within
from fewlabels.methods.running import RunningMean, uniform
from fewlabels.methods.session import Session
from fewlabels.training.batches import Batch


class AdaptiveThreshold:
    """Running means of confidence, of class probabilities and of guessed classes.

    Parameters
    ----------
    classes : int
        Number of classes.
    decay : float
        Of the running means, in [0, 1).
    device : torch.device
        Where they are kept.
    """

    def __init__(self, classes: int, decay: float, device: torch.device) -> None:
        start = uniform(classes, device)
        self.confidence = RunningMean(start[0], decay)
        self.probabilities = RunningMean(start, decay)
        self.guessed = RunningMean(start, decay)

    def update(self, found: Tensor) -> None:
        """Take note of a batch's class probabilities, (batch, classes)."""
        confidences, classes = found.max(1)
        self.confidence.update(confidences.mean())
        self.probabilities.update(found.mean(0))
        self.guessed.update(class_histogram(classes, found.shape[1]))

    @property
    def thresholds(self) -> Tensor:
        """Return tau_c: the mean confidence, scaled by each class's mean probability over the largest, (classes,)."""
        shares = self.probabilities.value
        return self.confidence.value * shares / shares.amax()


def class_histogram(classes: Tensor, count: int) -> Tensor:
    """Return the share of each class among guesses, (count,)."""
    histogram = torch.zeros(count, device=classes.device)
    ones = torch.ones_like(classes, dtype=histogram.dtype)
    return histogram.index_add_(0, classes, ones) / len(classes)


@dataclass(kw_only=True, eq=False, repr=False)
class FreeMatch(OnlineClassifier):
    """Pseudo-labels above a threshold that the net's own confidence sets, for each class apart.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + mu 1[max p(w(u)) >= tau_argmax] H(argmax p(w(u)), p(s(u)))
            + phi sum_c n(p~ / h~)_c log n(p_s / h_s)_c

    with weak views w and strong views s. tau_c = tau p~_c / max p~, tau being the running mean of max p(w(u)) and
    p~ that of p(w(u)); h~ is the running histogram of the guessed classes; p_s and h_s are mean prediction and
    histogram of the batch's strong views that count; n scales to a sum of one. The last term asks for predictions
    that are spread over the classes; no gradient flows through p~, h~, h_s and p(w(u)).

    `preset="short"` is for minutes, as FixMatch's, with running means that follow faster.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is mu.

    Parameters
    ----------
    mean_decay : float
        Of the running means, in [0, 1).
    fairness_weight : float
        phi, at least 0; 0 for a pool whose classes are not equally frequent.

    References
    ----------
    Wang et al., "FreeMatch: self-adaptive thresholding for semi-supervised learning", 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = FreeMatch(preset="short", steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    _threshold_moves: ClassVar[bool] = True

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"short": SHORT | {"mean_decay": 0.99}}

    mean_decay: float = 0.999
    fairness_weight: float = 0.001

    def _new_state(self, session: Session) -> AdaptiveThreshold:
        return AdaptiveThreshold(session.classes, self.mean_decay, session.device)

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of strong views to guesses above their class's threshold, and the fairness."""
        found = probabilities(teacher, batch.views.weak(batch.pool))
        self._state.update(found)
        confidences, classes = found.max(1)
        logits = strong_logits(nets, batch).float()
        counts = (confidences >= self._state.thresholds[classes]).to(logits.dtype)
        batch.admitted = counts.mean()
        losses = {"consistency": self.unlabeled_weight * consistency(logits, classes, counts)}
        if self.fairness_weight > 0:
            losses["fairness"] = self.fairness_weight * self._fairness(logits, counts)
        return losses

    def _fairness(self, logits: Tensor, counts: Tensor) -> Tensor:
        some = counts.sum().clamp_min(1)
        strong = logits.softmax(1)
        mean = (strong * counts.unsqueeze(1)).sum(0) / some
        histogram = torch.zeros_like(mean).index_add_(0, strong.detach().argmax(1), counts) / some
        expected = _per_frequency(self._state.probabilities.value, self._state.guessed.value)
        seen = _per_frequency(mean, histogram)
        # With nothing above the thresholds there is nothing to spread.
        return (expected * (seen + 1e-12).log()).sum() * (counts.sum() > 0)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "mean_decay")
        check_not_below_zero(self, "fairness_weight")


def _per_frequency(values: Tensor, frequencies: Tensor) -> Tensor:
    """Return values by how often their class is guessed, scaled to a sum of one; classes never guessed have 0."""
    ratio = torch.where(frequencies > 0, values / frequencies.clamp_min(1e-12), 0)
    return ratio / ratio.sum().clamp_min(1e-12)
