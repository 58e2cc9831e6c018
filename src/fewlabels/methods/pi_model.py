"""The Pi model and the mean teacher: two noisy looks at the same sample should agree."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.methods.consistency import probabilities
from fewlabels.methods.online import OnlineClassifier
from fewlabels.methods.ramps import gaussian_ramp
from fewlabels.methods.ranges import check_within
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class PiModel(OnlineClassifier):
    """Two random views of a sample should get the same class probabilities.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + lambda(t) mean_c (p_c(w(u)) - p_c(w'(u)))^2

    where w and w' are two random views (weak ones of images, noise on vectors), v is `view`, no gradient flows
    through p(w'(u)), and lambda grows as exp(-5 (1 - t)^2) over the first `ramp_up` of the steps. The original lets
    it flow through both (as Tarvainen & Valpola, 2017, say of it): as the views are drawn alike, that is on average
    twice the gradient, which is a matter of lambda, for another backward pass.

    See `OnlineClassifier` for the other parameters and attributes. `unlabeled_weight` is lambda's final value:
    the paper's is 100 M / N with M of all N samples labeled, 8 for 4,000 of 50,000.

    Parameters
    ----------
    ramp_up : float
        Share of the steps in which the pool's weight grows, in [0, 1].

    References
    ----------
    Laine & Aila, "Temporal ensembling for semi-supervised learning", 2017; Sajjadi et al., "Regularization with
    stochastic transformations and perturbations for deep semi-supervised learning", 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = PiModel(steps=60, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    unlabeled_ratio: float = 1.0
    unlabeled_weight: float = 8.0
    ramp_up: float = 0.4

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the mean squared difference between the probabilities of two views."""
        targets = probabilities(teacher, batch.views.jittered(batch.pool))
        with frozen_statistics(nets):
            logits = nets(batch.views.jittered(batch.pool))
        weight = self.unlabeled_weight * gaussian_ramp(batch.progress, self.ramp_up)
        return {"consistency": weight * F.mse_loss(logits.float().softmax(1), targets)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1]", "ramp_up")


@dataclass(kw_only=True, eq=False, repr=False)
class MeanTeacher(PiModel):
    """A net should agree with its own moving average on other views of the same sample.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + lambda(t) mean_c (p_c(w(u)) - q_c(w'(u)))^2

    where q is the class probability by the moving average of the net (the teacher), w and w' are two random
    views, v is `view`, no gradient flows into the teacher, and lambda grows as exp(-5 (1 - t)^2) over the first
    `ramp_up` of the steps. The average is what remains in the end.

    See `PiModel` and `OnlineClassifier` for the parameters; `teacher_decay` must be above 0.

    References
    ----------
    Tarvainen & Valpola, "Mean teachers are better role models: weight-averaged consistency targets improve
    semi-supervised deep learning results", 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = MeanTeacher(steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.6
    True
    """

    unlabeled_weight: float = 50.0
    teacher_decay: float = 0.99

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.teacher_decay == 0:
            raise InputError("teacher_decay=0 leaves no teacher; give one in (0, 1), or use pi-model")
