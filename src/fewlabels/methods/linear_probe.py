"""The linear probe: logistic regression on features as they are given, the bar that learning with a pool must clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.linear import (
    PENALTIES,
    choose_penalty,
    fit_linear,
    given_features,
    linear_classifier,
    set_head,
)
from fewlabels.methods.looks import accuracies
from fewlabels.methods.ranges import check_above_zero
from fewlabels.methods.session import Session
from fewlabels.nets import Classifier


@dataclass(kw_only=True, eq=False, repr=False)
class LinearProbe(SemiSupervisedClassifier):
    """Logistic regression on given features, such as those of a pretrained net, from the labeled samples alone.

    With d features f of the labeled samples, standardized by labeled and pool samples and scaled to equal lengths,

        min over W, b of  mean H(y, softmax(W f + b)) + d penalty / 2000 |W|^2

    The penalty is the one of seven under which folds of the labeled samples are most likely when they are held out
    (cross-validation), and the temperature that calibrates the probabilities is found on the same folds, together with
    the held-out samples. No gradient step is taken by the training loop: seconds, and with a `random_state` the same
    answer every time. Of images without a pretrained net the features are the pixels.

    See `SemiSupervisedClassifier` for the attributes that all methods share; `steps`, `epochs`, `budget`, the
    optimizer's settings and the views' are not used.

    Parameters
    ----------
    penalty : float, optional
        Above 0; chosen by cross-validation when not given.

    Attributes
    ----------
    penalty_ : float
        The penalty that was taken.

    References
    ----------
    Kornblith, Shlens & Le, "Do better ImageNet models transfer better?", CVPR 2019, for the probe as a measure.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> method = LinearProbe(random_state=0).fit(digits.data, y)
    >>> method.score(digits.data[100:], digits.target[100:]) > 0.75
    True
    """

    _learns_mirrored: ClassVar[bool] = False
    _draws_views: ClassVar[bool] = False
    _learns_from_pool: ClassVar[bool] = False
    _pool_can_harm: ClassVar[bool] = False
    _why_frozen: ClassVar[str] = "it trains no net"

    penalty: float | None = None

    def _learn(self, session: Session) -> Any:
        network = self._empty_network(session.sample_shape, session.classes).to(session.device)
        session.start(network)
        session.monitor.begin("classifier", 1)
        labels = session.labeled.labels
        features = given_features(session, network, session.labeled.stored)
        # One that is given is not chosen, and held-out folds are asked under it too: probabilities go by them.
        among = PENALTIES if self.penalty is None else (float(self.penalty),)
        chosen = choose_penalty(features, labels, session.classes, session.next_seed(), among)
        self.penalty_, self._left_out = chosen  # type: ignore[misc]
        # For a list of what a fit chose, see `choices`.
        folds = "folds of the labeled images learned from, each held out in turn"
        self._penalty_looked_at_ = folds if self.penalty is None else ""
        set_head(network, *fit_linear(features, labels, session.classes, self.penalty_))
        session.monitor.conclude(accuracies(session, network))
        return network

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        return linear_classifier(sample_shape, classes)

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.penalty is not None:
            check_above_zero(self, "penalty")
