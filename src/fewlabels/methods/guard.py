"""The guard: a method that learns from a pool is to be no worse than the labels alone, by more than chance."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fewlabels.methods.supervised import Supervised, labeled_loss
from fewlabels.training.batches import Batch, Rows

if TYPE_CHECKING:
    from fewlabels.methods.session import Session
    from fewlabels.nets import Classifier


class Guard:
    """A net that has learned from the labeled samples alone, to fall back on.

    A method that begins with the labeled samples alone brings that net along (`keep`), and no time is spent on
    another; for the others one is trained (`train`).

    Parameters
    ----------
    session : Session
        Of the method to guard.

    Attributes
    ----------
    record : dict
        `accepted`: whether the method's net was no worse; `supervised_accuracy` and `accuracy` on the held-out
        samples, None if there are none; `pool_steps`: steps that learned from the pool, and `steps_left_out`: those
        of them in which the pool's gradient pointed against the labels' and was left out.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._network: Classifier | None = None
        self.record: dict[str, Any] = {}

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

    def keep(self, network: Classifier) -> None:
        """Fall back on a net as it is now: it has learned from the labeled samples alone, and will go on."""
        self._network = copy.deepcopy(network)
        self._session.kept[self._network] = dict(self._session.kept.get(network, {}))

    def accept(self, network: Classifier) -> Classifier:
        """Return the method's net, or the one of the labels alone if that is better by more than chance."""
        assert self._network is not None
        without, with_pool = (right_answers(self._session, net) for net in (self._network, network))
        accepted = not is_worse(without, with_pool)
        monitor = self._session.monitor
        self.record = {
            "accepted": accepted,
            "supervised_accuracy": float(without.mean()) if len(without) else None,
            "accuracy": float(with_pool.mean()) if len(with_pool) else None,
            "pool_steps": monitor.pool_steps,
            "steps_left_out": monitor.steps_left_out(),
        }
        return network if accepted else self._network


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
