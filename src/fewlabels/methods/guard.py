"""The guard: a method that learns from a pool is to be no worse than the labels alone, by more than chance."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fewlabels.methods.choice import is_too_short
from fewlabels.methods.spending import cost_of_step
from fewlabels.methods.supervised import Supervised, labeled_loss
from fewlabels.training.batches import Batch, Rows
from fewlabels.training.budget import ImageBudget

if TYPE_CHECKING:
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
        `supervised_accuracy` and `accuracy` on the held-out samples, None where there is none; `pool_steps`: steps
        that learned from the pool, and `steps_left_out`: those of them in which the pool's gradient pointed against
        the labels' and was left out.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._network: Classifier | None = None
        self.record: dict[str, Any] = {}

    def train(self, length: dict[str, Any]) -> None:
        """Train a net to fall back on, for so long: `length` are arguments of `Session.train`."""
        self._network = self._trained("labeled samples alone, to fall back on", length)

    def keep(self, network: Classifier) -> None:
        """Fall back on a net as it is now: it has learned from the labeled samples alone, and will go on."""
        self._network = copy.deepcopy(network)
        self._session.kept[self._network] = dict(self._session.kept.get(network, {}))

    def hold_back(self) -> Classifier:
        """Return a net that has learned from the labeled samples alone for as long as the budget lasts."""
        self._session.monitor.stage_count = 1
        network = self._trained("labeled samples alone", {"budget_share": 1.0})
        self._note(right_answers(self._session, network), np.empty(0, bool), accepted=False, held_back=True)
        return network

    def _trained(self, stage: str, length: dict[str, Any]) -> Classifier:
        network = self._session.new_classifier()
        self._session.train(network, partial(_loss, network), stage=stage, classifier=network, **length)
        return network

    def accept(self, network: Classifier) -> Classifier:
        """Return the method's net, or the one of the labels alone if that is better by more than chance."""
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
            "supervised_accuracy": float(without.mean()) if len(without) else None,
            "accuracy": float(with_pool.mean()) if len(with_pool) else None,
            "pool_steps": monitor.pool_steps,
            "steps_left_out": monitor.steps_left_out(),
        }


def affordable_samples(session: Session) -> float:
    """Return how many labeled samples, repetitions counted, a net could learn from in what is left of a budget."""
    budget = session.budget
    assert budget is not None
    if isinstance(budget, ImageBudget):
        return session.decided(budget.left)
    network, method = session.new_classifier(plain=True), Supervised()
    per_step = cost_of_step(session.of(method), network, lambda batch: method.loss(network, batch), session.batches)
    return session.method.batch_size * session.decided(budget.left) / per_step


def is_hasty(session: Session) -> bool:
    """Say whether a net that learns from scratch has too little time for a pool to pay."""
    if session.budget is None or session.is_vectors:
        return False
    return is_too_short(affordable_samples(session), len(session.labeled), session.classes)


def right_answers(session: Session, network: nn.Module) -> NDArray[np.bool_]:
    """Return for each held-out sample whether the net classifies it rightly."""
    held_out = session.validation
    if not len(held_out):
        return np.empty(0, bool)
    rows = Rows([held_out.samples.cpu().numpy()])
    logits = session.logits(network, rows)  # type: ignore[arg-type]
    return np.asarray(logits.argmax(1) == held_out.targets.cpu().numpy())


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


def _loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    loss = labeled_loss(network, batch, view=Supervised.view, label_smoothing=Supervised.label_smoothing)
    return {"supervised": loss}
