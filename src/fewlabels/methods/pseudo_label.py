"""Pseudo-labels, made anew in every step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fewlabels.methods.consistency import consistency, probabilities
from fewlabels.methods.online import OnlineClassifier
from fewlabels.methods.ramps import linear_ramp
from fewlabels.methods.ranges import check_within
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class PseudoLabel(OnlineClassifier):
    """The net's own sure guess on a view is the label of the same view.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + lambda(t) 1[max p(w(u)) >= tau] H(argmax p(w(u)), p(w(u)))

    where w are weak views, v is `view`, no gradient flows through the guess, and lambda grows linearly over the
    first `ramp_up` of the steps. It pushes the boundary between classes to where few samples are.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is lambda's final value.

    Parameters
    ----------
    threshold : float
        tau, the confidence from which a guess counts, in [0, 1).
    ramp_up : float
        Share of the steps in which the pool's weight grows, in [0, 1].

    References
    ----------
    Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks", 2013.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = PseudoLabel(steps=40, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    unlabeled_ratio: float = 1.0
    threshold: float = 0.95
    ramp_up: float = 0.4

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of sure guesses to themselves."""
        views = batch.views.weak(batch.pool)
        with frozen_statistics(nets):
            logits = nets(views)
        guesses = logits.detach().float().softmax(1) if teacher is nets else probabilities(teacher, views)
        confidences, classes = guesses.max(1)
        sure = (confidences >= self.threshold).to(confidences.dtype)
        batch.admitted = sure.mean()
        weight = self.unlabeled_weight * linear_ramp(batch.progress, self.ramp_up)
        return {"pseudo-label": weight * consistency(logits, classes, sure)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "threshold")
        check_within(self, "[0, 1]", "ramp_up")
