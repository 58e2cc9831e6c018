"""ReMixMatch: MixMatch with aligned guesses, anchored strong views, and rotations to tell apart."""

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
from fewlabels.methods.ranges import check_above_zero, check_not_below_zero, check_whole, check_within
from fewlabels.methods.running import RunningMean, aligned, uniform
from fewlabels.methods.session import Session
from fewlabels.nets import Classifier
from fewlabels.nets.output import OutputLinear
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch

_TURNS = 4


class TurnTeller(nn.Module):
    """A classifier, and a second head on its features that tells by how many quarter turns an image was turned.

    Parameters
    ----------
    classifier : Classifier
        Is called when this is.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.turns = OutputLinear(classifier.encoder.feature_size, _TURNS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return class logits, (batch, classes)."""
        logits: Tensor = self.classifier(inputs)
        return logits

    def turn_logits(self, inputs: Tensor) -> Tensor:
        """Return logits of the number of quarter turns, (batch, 4)."""
        logits: Tensor = self.turns(self.classifier.features(inputs))
        return logits


@dataclass
class _Kept:
    """What ReMixMatch keeps from step to step."""

    draws: np.random.Generator
    given: Tensor
    seen: RunningMean


@dataclass(kw_only=True, eq=False, repr=False)
class ReMixMatch(OnlineClassifier):
    """Mixtures of strong views whose targets are aligned guesses on a weak view.

    For each pool sample u, q = sharpen(p(w(u)) pi / p~, T) scaled to a sum of one: the running mean p~ of the
    guesses is brought to the labeled samples' class shares pi. Labeled views, `strong_views` of each pool sample
    and its weak view, all with their targets, are mixed as in MixMatch, and the loss is

        H(y', p(x')) + r(t) [lambda H(q', p(u')) + lambda_s H(q, p(s_1(u))) + lambda_r H(k, rot(turn_k(s_1(u))))]

    over mixed labeled (x', y') and mixed pool views (u', q'); the first strong view before mixing; and the same
    view after k of four quarter turns, which a second head on the features has to tell (square images alone). No
    gradient flows through q; r grows linearly over the first `ramp_up` of the steps.

    `preset="short"` is for minutes: half of the labeled samples come first, alone; then one strong view, no rotations
    to tell apart, and weights that grow: what a step costs and what a net that knows little is asked for is less.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is lambda.

    Parameters
    ----------
    temperature : float
        T, in (0, 1].
    strong_views : int
        Strong views of a pool sample, at least 1; the paper has 8.
    alpha : float
        Of the Beta distribution that shares are drawn from, > 0.
    strong_weight, rotation_weight : float
        lambda_s and lambda_r, at least 0.
    mean_decay : float
        Of the running mean of the guesses, in [0, 1); the paper takes the mean of the last 128 batches.
    ramp_up : float
        Share of the steps in which the pool's weights grow, in [0, 1].

    References
    ----------
    Berthelot et al., "ReMixMatch: semi-supervised learning with distribution alignment and augmentation
    anchoring", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = ReMixMatch(view="weak", steps=120, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "short": {
            "warm_start": 0.5,
            "strong_views": 1,
            "rotation_weight": 0.0,
            "ramp_up": 1.0,
            "unlabeled_weight": 0.5,
        }
    }

    unlabeled_ratio: float = 1.0
    unlabeled_weight: float = 1.5
    view: str = "strong"
    temperature: float = 0.5
    strong_views: int = 2
    alpha: float = 0.75
    strong_weight: float = 0.5
    rotation_weight: float = 0.5
    mean_decay: float = 0.992
    ramp_up: float = 0.0

    def _new_nets(self, session: Session, network: Classifier) -> nn.Module:
        shape = session.sample_shape
        if self.rotation_weight == 0 or session.is_vectors or shape[0] != shape[1]:
            return network
        session.seed_weights()
        return TurnTeller(network).to(session.device)

    def _new_state(self, session: Session) -> Any:
        counts = F.one_hot(session.labeled.targets, session.classes).float()
        return _Kept(
            np.random.default_rng(session.next_seed()),
            session.prior(counts.mean(0).cpu().numpy()),
            RunningMean(uniform(session.classes, session.device), self.mean_decay),
        )

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the terms on mixed labeled and pool views, on a strong view, and on its turns."""
        if batch.unlabeled is None:
            return super().loss(nets, batch)
        weak = batch.views.weak(batch.unlabeled)
        found = probabilities(self.teacher_of(nets), weak)
        targets = sharpened(aligned(found, self._state.given, self._state.seen.value), self.temperature)
        self._state.seen.update(found.mean(0))
        labeled = getattr(batch.views, self.view)(batch.labeled)
        batch.pool_passes = self.strong_views + 1 + (self.strong_weight > 0) + isinstance(nets, TurnTeller)
        strong = [batch.views.strong(batch.unlabeled) for _ in range(self.strong_views)]
        given = one_hot(batch.targets, found.shape[1])
        mixed, wanted = mixup(
            torch.cat([labeled, *strong, weak]),
            torch.cat([given, *[targets] * (len(strong) + 1)]),
            self.alpha,
            self._state.draws,
        )
        # One pass of all, so that batch normalization sees the same mixture for each.
        logits = nets(mixed).float()
        count = len(labeled)
        ramp = linear_ramp(batch.progress, self.ramp_up)
        losses = {
            "supervised": F.cross_entropy(logits[:count], wanted[:count], label_smoothing=self.label_smoothing),
            "mixed pool": ramp * self.unlabeled_weight * F.cross_entropy(logits[count:], wanted[count:]),
        }
        with frozen_statistics(nets):
            if self.strong_weight > 0:
                anchored = F.cross_entropy(nets(strong[0]).float(), targets)
                losses["strong view"] = ramp * self.strong_weight * anchored
            if isinstance(nets, TurnTeller):
                turned, turns = turn(strong[0])
                told = F.cross_entropy(nets.turn_logits(turned).float(), turns)
                losses["rotation"] = ramp * self.rotation_weight * told
        return losses

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "(0, 1]", "temperature")
        check_whole(self, 1, "strong_views")
        check_above_zero(self, "alpha")
        check_not_below_zero(self, "strong_weight", "rotation_weight")
        check_within(self, "[0, 1)", "mean_decay")
        check_within(self, "[0, 1]", "ramp_up")


def turn(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return square images, each turned by its number in the batch modulo 4 quarter turns, and those numbers.

    Examples
    --------
    >>> turned, turns = turn(torch.arange(4.0).view(1, 1, 2, 2).repeat(2, 1, 1, 1))
    >>> turned[1, 0], turns
    (tensor([[1., 3.],
            [0., 2.]]), tensor([0, 1]))
    """
    turned = torch.empty_like(images)
    for number in range(_TURNS):
        turned[number::_TURNS] = torch.rot90(images[number::_TURNS], number, (2, 3))
    return turned, torch.arange(len(images), device=images.device) % _TURNS
