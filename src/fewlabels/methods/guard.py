"""The guard: a method that learns from a pool is to be no worse than the labels alone, by more than chance."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fewlabels.methods.choice import is_too_short
from fewlabels.methods.spending import cost_of_step, steps_in_budget
from fewlabels.methods.supervised import Supervised, labeled_loss
from fewlabels.nets.pretrained import is_backbone
from fewlabels.training.batches import Batch
from fewlabels.training.budget import ImageBudget

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.methods.session import Session
    from fewlabels.nets import Classifier


class Guard:
    """A net that has learned from the labeled samples alone, to fall back on.

    A method that begins with the labeled samples alone brings that net along (`keep`), and no time is spent on
    another; for the others one is trained (`train`). In a budget that is too short for any pool to pay, all of it
    goes into the labels (`hold_back`): the net that a method ends with may then be better than the one it began
    with, and still worse than what the labels alone would have come to.

    Parameters
    ----------
    session : Session
        Of the method to guard.

    Attributes
    ----------
    record : dict
        `accepted`: whether the method's net was no worse; `held_back`: whether nothing was learned from the pool;
        `pretrained`: whether the encoder of the net to fall back on had learned from the pool before;
        `supervised_accuracy` and `accuracy` on the held-out samples, None where there is none; `pool_steps`: steps
        that learned from the pool, and `steps_left_out`: those of them in which the pool's gradient pointed against
        the labels' and was left out.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._network: Classifier | None = None
        self._pretrained = False
        self._per_step = math.nan
        self.record: dict[str, Any] = {}

    @property
    def can_compare(self) -> bool:
        """Whether samples are held out, without which no net can be told to be better than another."""
        return len(self._session.validation) > 0

    def train(self, length: dict[str, Any]) -> None:
        """Train a net to fall back on, for so long: `length` are arguments of `Session.train`."""
        network = self._network = self._session.new_classifier()
        self._session.train(
            network,
            partial(_loss, network),
            stage="labeled samples alone, to fall back on",
            classifier=network,
            **length,
        )

    def keep(self, network: Classifier, *, pretrained: bool) -> None:
        """Fall back on a net as it is now: it has learned from the labeled samples alone, and will go on.

        Parameters
        ----------
        network : Classifier
            Is copied.
        pretrained : bool
            Whether its encoder has learned from the pool before.
        """
        self._network, self._pretrained = copy.deepcopy(network), pretrained
        self._session.kept[self._network] = dict(self._session.kept.get(network, {}))

    def is_hasty(self, share: float = 1.0) -> bool:
        """Say whether a net that learns from scratch has too little time for a pool to pay.

        Parameters
        ----------
        share : float
            Share of the budget that the method itself would have, in (0, 1].
        """
        session = self._session
        if session.budget is None or session.is_vectors or is_backbone(session.method.net):
            return False
        self._per_step = cost_of_labels_alone(session)
        images = share * affordable_samples(session, self._per_step)
        return is_too_short(images, len(session.labeled), session.classes)

    def hold_back(self) -> Classifier:
        """Return a net that has learned from the labeled samples alone for as long as the budget lasts.

        `is_hasty` is to be asked before: what it finds a step to cost is not measured again. What the net learns by
        is written into the method's settings: where those were left as they are for learning from a pool, it learns
        as `supervised` does.
        """
        session = self._session
        session.monitor.stage_count = 1
        network = session.new_classifier()
        method = session.method.set_params(**as_alone(session.method))
        for module in network.head.modules():
            if isinstance(module, nn.Dropout):
                module.p = method.dropout
        loss = partial(_loss, network, view=method.view, label_smoothing=method.label_smoothing)
        steps = steps_in_budget(session, self._per_step, network)
        session.train(network, loss, stage="labeled samples alone", classifier=network, steps=steps)
        self._note(right_answers(session, network), np.empty(0, bool), accepted=False, held_back=True)
        return network

    def accept(self, network: Classifier) -> Classifier:
        """Return the method's net, or the one of the labels alone if that is better by more than chance."""
        if not self.can_compare:
            self._note(np.empty(0, bool), np.empty(0, bool), accepted=True, held_back=False)
            return network
        assert self._network is not None
        without, with_pool = (right_answers(self._session, net) for net in (self._network, network))
        accepted = not is_worse(without, with_pool)
        self._note(without, with_pool, accepted=accepted, held_back=False)
        return network if accepted else self._network

    def _note(
        self, without: NDArray[np.bool_], with_pool: NDArray[np.bool_], *, accepted: bool, held_back: bool
    ) -> None:
        monitor = self._session.monitor
        self.record = {
            "accepted": accepted,
            "held_back": held_back,
            "pretrained": self._pretrained,
            "supervised_accuracy": float(without.mean()) if len(without) else None,
            "accuracy": float(with_pool.mean()) if len(with_pool) else None,
            "pool_steps": monitor.pool_steps,
            "steps_left_out": monitor.steps_left_out(),
        }


def learn_guarded(method: SemiSupervisedClassifier, session: Session) -> Classifier:
    """Return what a method has learned; where it is to be guarded and there is a pool, under a guard.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        With its preset applied; `guard_` tells what the guard did.
    session : Session
        Of that method.
    """
    guarded = method.guard and method._pool_can_harm and len(session.pool) > 0
    if guarded and (guard := method._hasty_guard(session)) is not None:
        held_back: Classifier = method._hold_back(session, guard)
        return held_back
    if guarded:
        session.guard = method._new_guard(session)
    network: Classifier = method._learn(session)
    if session.guard is not None:
        network = session.guard.accept(network)
        method.guard_ = session.guard.record
    return network


def cost_of_labels_alone(session: Session) -> float:
    """Return what of the budget a step costs that learns from labeled samples alone."""
    if isinstance(session.budget, ImageBudget):
        return session.method.batch_size
    network = session.new_classifier(plain=True)
    return cost_of_step(session, network, partial(_loss, network), session.batches)


def affordable_samples(session: Session, per_step: float) -> float:
    """Return how many labeled samples, repetitions counted, such steps learn from in what is left of the budget."""
    assert session.budget is not None
    return session.method.batch_size * session.decided(session.budget.left) / per_step


def as_alone(method: SemiSupervisedClassifier) -> dict[str, Any]:
    """Return what a method sets otherwise than `supervised` does, since it has a pool, and nobody asked for."""
    if method.preset in Supervised.PRESETS:
        return {}
    usual = type(method)(preset=method.preset)._resolved()
    names = ("view", "label_smoothing", "dropout")
    return {name: getattr(Supervised, name) for name in names if getattr(method, name) == getattr(usual, name)}


def was_held_back(method: object) -> bool:
    """Say whether the guard of a fitted method held the pool back; models of earlier versions do not tell."""
    return bool(getattr(method, "guard_", {}).get("held_back", False))


def has_fallen_back(method: object) -> bool:
    """Say whether the guard of a fitted method took a net of the labels alone, as the method's own did worse."""
    guard = getattr(method, "guard_", None)
    return guard is not None and not guard["accepted"] and not was_held_back(method)


def has_fallen_back_on_pretrained(method: object) -> bool:
    """Say whether the encoder of that net had learned from the pool before; models of earlier versions do not tell."""
    return has_fallen_back(method) and bool(getattr(method, "guard_", {}).get("pretrained", False))


def after_pretraining(pretrained: bool) -> str:
    """Return what is said after "the labels alone" of a net whose encoder had learned from the pool before."""
    return " after pretraining on the pool" if pretrained else ""


def right_answers(session: Session, network: nn.Module) -> NDArray[np.bool_]:
    """Return for each held-out sample whether the net classifies it rightly."""
    held_out = session.validation
    if not len(held_out):
        return np.empty(0, bool)
    rows = held_out.stored
    logits = session.logits(network, rows)  # type: ignore[arg-type]
    return np.asarray(logits.argmax(1) == held_out.labels)


def had_nothing_to_compare_on(method: object) -> bool:
    """Say whether the guard of a fitted method took its net unseen, as no labeled sample is held out."""
    guard = getattr(method, "guard_", None)
    return guard is not None and guard["accuracy"] is None and not was_held_back(method)


def is_worse(before: NDArray[np.bool_], after: NDArray[np.bool_], *, errors: float = 3.0) -> bool:
    """Say whether accuracy on the same samples fell by more than chance explains.

    The paired difference counts when it is more than so many standard errors below zero: with the few
    held-out samples there are, a stricter gate would end most trainings on noise.

    Examples
    --------
    >>> is_worse(np.ones(100, bool), np.arange(100) < 80)
    True
    >>> is_worse(np.arange(100) < 81, np.arange(100) < 80)
    False
    """
    if not len(before):
        return False
    difference = after.astype(float) - before.astype(float)
    error = difference.std() / np.sqrt(len(difference))
    return bool(difference.mean() < -errors * error and difference.sum() <= -2)


def _loss(
    network: nn.Module,
    batch: Batch,
    *,
    view: str = Supervised.view,
    label_smoothing: float = Supervised.label_smoothing,
) -> dict[str, Tensor]:
    return {"supervised": labeled_loss(network, batch, view=view, label_smoothing=label_smoothing)}
