"""Prototypes: the mean direction of each class's features, moved by the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.linear import given_features, linear_classifier, set_head
from fewlabels.methods.looks import accuracies
from fewlabels.methods.ranges import check_not_below_zero, check_whole
from fewlabels.methods.session import Session
from fewlabels.nets import Classifier
from fewlabels.training.calibration import best_temperature

# Of cosines, before calibration: a temperature can then make anything of them from doubt to certainty.
SCALE = 10.0


@dataclass(kw_only=True, eq=False, repr=False)
class Prototypes(SemiSupervisedClassifier):
    """Each class is the mean direction of its features, and a sample belongs to the nearest.

    With features f of length one, standardized by labeled and pool samples, and labeled samples L_c of class c:

        p_c = normalized sum of f over L_c,    P(c | f) = softmax over c of (s cos(f, p_c))

    The scale s is the one under which the labeled samples are most likely when each is left out of its own class's
    sum. In each of `rounds` the pool then moves the prototypes: p_c becomes the normalized sum of f over L_c and
    of `pool_weight` P(c | u) f(u) over pool samples u. With a label or two a class nothing simpler does as well.

    See `SemiSupervisedClassifier` for the attributes that all methods share; `steps`, `epochs`, `budget`, the
    optimizer's settings, the views' and `logit_adjustment` (a mean direction does not depend on how many labels it is
    of) are not used.

    Parameters
    ----------
    rounds : int
        How often the pool moves the prototypes, at least 0.
    pool_weight : float
        Weight of a pool sample beside a labeled one's, at least 0.

    References
    ----------
    Snell, Swersky & Zemel, "Prototypical networks for few-shot learning", 2017; Ren et al., "Meta-learning for
    semi-supervised few-shot classification", 2018, for the pool.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> method = Prototypes(random_state=0).fit(digits.data, y)
    >>> method.score(digits.data[100:], digits.target[100:]) > 0.7
    True
    """

    _learns_mirrored: ClassVar[bool] = False
    _draws_views: ClassVar[bool] = False
    _holds_shares: ClassVar[bool] = False
    _why_frozen: ClassVar[str] = "it trains no net"
    # `pool_weight` bounds what the pool does.
    _pool_can_harm: ClassVar[bool] = False

    rounds: int = 1
    pool_weight: float = 0.1

    def _learn(self, session: Session) -> Any:
        network = self._empty_network(session.sample_shape, session.classes).to(session.device)
        session.start(network)
        session.monitor.begin("prototypes", 1)
        labels = session.labeled.labels
        labeled = unit(given_features(session, network, session.labeled.stored))
        sums = class_sums(labeled, labels, session.classes)
        self._left_out = left_out_logits(labeled, labels, sums)  # type: ignore[misc]
        prototypes = unit(sums)
        if self.rounds and len(session.members):
            scale = SCALE / best_temperature(self._left_out, labels)
            pool = unit(given_features(session, network, session.pool))[session.members]
            for _ in range(int(self.rounds)):
                shares = softmax(scale * pool @ prototypes.T, axis=1)
                prototypes = unit(sums + self.pool_weight * shares.T @ pool)
        length = np.sqrt(network.encoder.feature_size)
        set_head(network, SCALE / length * prototypes, np.zeros(session.classes))
        session.monitor.conclude(accuracies(session, network))
        return network

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        return linear_classifier(sample_shape, classes)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole(self, 0, "rounds")
        check_not_below_zero(self, "pool_weight")


def unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return rows scaled to length one; rows of zeros stay.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def class_sums(features: NDArray[Any], labels: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Return the sum of each class's features, (classes, d)."""
    return np.eye(classes)[labels].T @ features  # type: ignore[no-any-return]


def left_out_logits(
    features: NDArray[np.float64], labels: NDArray[np.integer], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the logits of labeled samples, each left out of the sum of its own class, (n, classes).

    A class with one sample keeps it: there is nothing else to be near to.
    """
    logits = SCALE * features @ unit(sums).T
    rows = np.arange(len(labels))
    without = unit(sums[labels] - features)
    alone = np.bincount(labels, minlength=len(sums))[labels] < 2
    logits[rows, labels] = np.where(alone, logits[rows, labels], SCALE * (features * without).sum(1))
    return logits
