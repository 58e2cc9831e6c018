"""MixMatch: classes guessed from several views, and mixtures of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.methods.consistency import probabilities, sharpened
from fewlabels.methods.mixing import mixup, one_hot
from fewlabels.methods.online import OnlineClassifier
from fewlabels.methods.ramps import linear_ramp
from fewlabels.methods.ranges import check_above_zero, check_whole, check_within
from fewlabels.methods.session import Session
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class MixMatch(OnlineClassifier):
    """Mixtures of labeled and pool samples, the pool's classes guessed from several views.

    For each pool sample u, q = sharpen(mean_k p(w_k(u)), T) over `guesses` weak views. All views of labeled and
    pool samples, with their targets, are mixed with partners drawn from all of them, and the loss is

        H(y', p(x')) + lambda(t) mean_c (q'_c - p_c(u'))^2

    over mixed labeled views (x', y') and mixed pool views (u', q'). No gradient flows through q; lambda grows
    linearly over the first `ramp_up` of the steps.

    `preset="short"` is for minutes: a fifteenth of the weight, whose full size drowns the labels of a net that has
    learned little yet, and a start on the labeled samples alone.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is lambda's final value.

    Parameters
    ----------
    temperature : float
        T, in (0, 1].
    guesses : int
        Views of a pool sample, at least 1.
    alpha : float
        Of the Beta distribution that shares are drawn from, > 0.
    ramp_up : float
        Share of the steps in which the pool's weight grows, in [0, 1].

    References
    ----------
    Berthelot et al., "MixMatch: a holistic approach to semi-supervised learning", 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = MixMatch(steps=60, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"short": {"unlabeled_weight": 5.0, "warm_start": 0.2}}

    unlabeled_ratio: float = 1.0
    unlabeled_weight: float = 75.0
    temperature: float = 0.5
    guesses: int = 2
    alpha: float = 0.75
    ramp_up: float = 0.4

    def _new_state(self, session: Session) -> Any:
        return np.random.default_rng(session.next_seed())

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy on mixed labeled views and the squared error on mixed pool views."""
        if batch.unlabeled is None:
            return super().loss(nets, batch)
        labeled = getattr(batch.views, self.view)(batch.labeled)
        batch.pool_passes = self.guesses
        views = [batch.views.jittered(batch.unlabeled) for _ in range(self.guesses)]
        teacher = self.guesser_of(nets)
        found = torch.stack([probabilities(teacher, view) for view in views]).mean(0)
        targets = sharpened(found, self.temperature)
        given = one_hot(batch.targets, found.shape[1])
        mixed, wanted = mixup(
            torch.cat([labeled, *views]), torch.cat([given, *[targets] * len(views)]), self.alpha, self._state
        )
        # One pass of all, so that batch normalization sees the same mixture for each.
        logits = nets(mixed).float()
        count = len(labeled)
        weight = self.unlabeled_weight * linear_ramp(batch.progress, self.ramp_up)
        return {
            "supervised": F.cross_entropy(logits[:count], wanted[:count], label_smoothing=self.label_smoothing),
            "mixed pool": weight * F.mse_loss(logits[count:].softmax(1), wanted[count:]),
        }

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "(0, 1]", "temperature")
        check_whole(self, 1, "guesses")
        check_above_zero(self, "alpha")
        check_within(self, "[0, 1]", "ramp_up")
