"""FixMatch: a sure guess on a weak view is the label of a strong view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.consistency import consistency, guess
from fewlabels.methods.session import Session
from fewlabels.methods.supervised import labeled_loss
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.storage.errors import InputError
from fewlabels.training.average import WeightAverage
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class FixMatch(SemiSupervisedClassifier):
    """Pseudo-labels from weak views for strong views, where the net is sure.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + mu 1[max p(w(u)) >= tau] H(argmax p(w(u)), p(s(u)))

    where w and s are weak and strong views, v is `view`, and no gradient flows through p(w(u)). The second term
    is a mean over all pool samples of the batch, sure or not.

    `preset="short"` is for minutes rather than days: fewer pool samples a step, a lower threshold, and a start
    on the labeled samples alone, without which the first minutes pass with few sure guesses.

    See `SemiSupervisedClassifier` for the other parameters and attributes.

    Parameters
    ----------
    threshold : float
        tau, the confidence from which a guess counts, in [0, 1).
    unlabeled_ratio : float
        Pool samples for each labeled one in a batch, > 0.
    unlabeled_weight : float
        mu, at least 0.
    warm_start : float
        Share of the steps at the start that learn from the labeled samples alone, in [0, 1).
    teacher_decay : float
        Guess by the moving average of the net with this decay, in [0, 1); 0: by the net itself, as in
        the paper.

    References
    ----------
    Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = FixMatch(preset="short", steps=60, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "short": {"threshold": 0.8, "unlabeled_ratio": 2.0, "warm_start": 0.2, "view": "medium"}
    }

    threshold: float = 0.95
    unlabeled_ratio: float = 7.0
    unlabeled_weight: float = 1.0
    warm_start: float = 0.0
    teacher_decay: float = 0.0
    view: str = "weak"
    label_smoothing: float = 0.0

    # The average of the net, while one is being trained; without an annotation it is no hyper-parameter.
    _teacher = cast("WeightAverage | None", None)

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy on labeled samples and the consistency of the pool's."""
        losses = {"supervised": labeled_loss(nets, batch, view=self.view, label_smoothing=self.label_smoothing)}
        if batch.unlabeled is not None:
            teacher = nets if self._teacher is None else self._teacher.nets
            confidences, classes = guess(teacher, batch.views.weak(batch.unlabeled))
            # Strong views have other statistics than the images to be classified.
            with frozen_statistics(nets):
                logits = nets(batch.views.strong(batch.unlabeled))
            sure = (confidences >= self.threshold).to(logits.dtype)
            losses["consistency"] = self.unlabeled_weight * consistency(logits, classes, sure)
        return losses

    def _learn(self, session: Session) -> Any:
        network = session.new_classifier()
        length = self._length(session)
        pool_size = round(self.unlabeled_ratio * self.batch_size)
        if session.clock is not None and self.warm_start > 0:
            length = {"steps": self._steps_in_time(session, network, pool_size)}
        if self.warm_start > 0:
            session.monitor.stage_count = 2
            self._train(session, network, "labeled images alone", _part(length, self.warm_start), 0)
            length = _part(length, 1 - self.warm_start)
        self._teacher = (
            WeightAverage(network, self.teacher_decay, ramp=self.warm_start == 0) if self.teacher_decay > 0 else None
        )
        self._train(session, network, "classifier", length, pool_size)
        if self._teacher is not None:
            self._teacher.copy_to(network)
            self._teacher = None
        return network

    def _train(self, session: Session, network: nn.Module, stage: str, length: dict[str, Any], pool_size: int) -> None:
        session.train(
            network,
            partial(self.loss, network),
            stage=stage,
            batches=partial(session.batches, unlabeled_size=pool_size),
            classifier=network if self._teacher is None else self._teacher.nets,  # type: ignore[arg-type]
            after_step=None if self._teacher is None else self._teacher.update,
            **length,
        )

    def _steps_in_time(self, session: Session, network: nn.Module, pool_size: int) -> int:
        """Return the steps of both stages together that fit into the budget, so that they repeat the run."""
        assert session.clock is not None
        loss = partial(self.loss, network)
        alone = session.seconds_per_step(network, loss, session.batches)
        with_pool = session.seconds_per_step(network, loss, partial(session.batches, unlabeled_size=pool_size))
        mean = self.warm_start * alone + (1 - self.warm_start) * with_pool
        return max(2, int(session.clock.left() / mean))

    def _check_settings(self) -> None:
        super()._check_settings()
        for name in ("threshold", "warm_start", "teacher_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} is not in [0, 1)")
        if not self.unlabeled_ratio > 0:
            raise InputError(f"unlabeled_ratio={self.unlabeled_ratio} is not above 0")
        if self.unlabeled_weight < 0:
            raise InputError(f"unlabeled_weight={self.unlabeled_weight} is below 0")


def _part(length: dict[str, Any], share: float) -> dict[str, Any]:
    """Return a share of a length in steps or passes."""
    if length.get("steps") is not None:
        return {"steps": max(1, round(length["steps"] * share))}
    return {"epochs": length["epochs"] * share}
