"""Which weights a training left, how each does on the held-out samples, and which the model predicts with."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from fewlabels.methods.examples import with_embeddings
from fewlabels.methods.prediction import predict_logits
from fewlabels.nets import Classifier
from fewlabels.storage.arguments import check_kind
from fewlabels.storage.errors import InputError, nearest
from fewlabels.training.calibration import best_temperature
from fewlabels.training.conformal import conformal_scores
from fewlabels.training.kept import AVERAGE, BEST, LAST, copied_state, same_state

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.methods.session import Session


_Method = TypeVar("_Method", bound="SemiSupervisedClassifier")


@dataclass(frozen=True)
class WeightSet:
    """One of the sets of weights that a training left, ready to predict with.

    Attributes
    ----------
    state : dict of str to Tensor
        The net's `state_dict`.
    step : int or None
        After how many steps of the last training they were taken; None for those of a method that trains otherwise.
    validation_accuracy : float
        On all held-out samples; NaN if there are none.
    temperature : float
        That calibrates them.
    conformal_scores : ndarray of shape (n_validation,)
        That their prediction sets go by.
    """

    state: dict[str, Tensor]
    step: int | None
    validation_accuracy: float
    temperature: float
    conformal_scores: NDArray[np.float64]


def finish_weights(method: SemiSupervisedClassifier, session: Session, network: Classifier) -> None:
    """Measure and calibrate all weights that a training left of a net, and give it those that are to be used.

    Sets `kept_weights_` and `used_weights_` of the method, and what follows from the latter.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        While it is fitted; `final_weights` says which to use.
    session : Session
        That trained the net.
    network : Classifier
        As the training returned it.
    """
    found = session.kept.get(network, {})
    returned, now = LAST, copied_state(network)
    states: dict[str, tuple[dict[str, Tensor], int | None]] = {
        name: (_like(kept["state"], now), kept["step"]) for name, kept in found.items()
    }
    step = states[LAST][1] if LAST in states else None
    averaged = AVERAGE in states and same_state(states[AVERAGE][0], now)
    if averaged or (LAST in states and not same_state(states[LAST][0], now)):
        returned = AVERAGE
    states[returned] = (now, step)
    # The same weights under two names are measured once.
    sets: dict[str, WeightSet] = {}
    for name in (returned, *sorted(set(states) - {returned})):
        state, at = states[name]
        twins = [other for other in sets if states[other][1] == at and same_state(states[other][0], state)]
        sets[name] = sets[twins[0]] if twins else _measured(method, session, network, state, at)
    method.kept_weights_ = {name: sets[name] for name in (LAST, BEST, AVERAGE) if name in sets}
    # An average that was asked for is what training ends with, also where it is a teacher's that the method does not
    # end with by itself.
    used = AVERAGE if method.ema_decay > 0 and AVERAGE in sets else returned
    if method.final_weights in sets:
        used = method.final_weights
    elif method.final_weights != "auto":
        why = "" if len(session.validation) else ", as no sample was held out"
        session.monitor.note(f"there are no weights {method.final_weights!r}{why}: the model has {used!r} ones")
    _take(method, network, used)


def use_weights(method: _Method, name: str) -> _Method:
    """Return a fitted method with another of its `kept_weights_`; see `SemiSupervisedClassifier.with_weights`."""
    known = method.kept_weights_
    check_kind("weights", name, str, f"one of {', '.join(known)}")
    if name not in known:
        raise InputError(f"no weights {name!r} were kept{nearest(name, known)} (there are: {', '.join(known)})")
    other = copy.copy(method)
    other.network_ = copy.deepcopy(method.network_)
    _take(other, other.network_, name)
    if hasattr(other, "examples_"):
        other.examples_ = with_embeddings(other, other.examples_)
    return other


def _take(method: SemiSupervisedClassifier, network: Classifier, name: str) -> None:
    chosen = method.kept_weights_[name]
    network.load_state_dict(chosen.state)
    network.eval()
    method.used_weights_ = name
    method.validation_accuracy_, method.temperature_ = chosen.validation_accuracy, chosen.temperature
    method.conformal_scores_ = chosen.conformal_scores


def _measured(
    method: SemiSupervisedClassifier, session: Session, network: Classifier, state: dict[str, Tensor], step: int | None
) -> WeightSet:
    network.load_state_dict(state)
    offsets = np.zeros(session.classes)
    if method.logit_adjustment > 0 and method._holds_shares:
        offsets = _offsets(method.logit_adjustment, session)
        _adjust(network, offsets)
    accuracy, temperature, scores = math.nan, 1.0, np.empty(0)
    unseen: list[tuple[NDArray[np.floating], NDArray[np.int64]]] = []
    if method._left_out is not None:
        unseen.append((method._left_out - offsets, session.labeled.labels))
    if len(session.validation):
        rows = session.validation.stored
        labels = session.validation.labels
        logits = predict_logits(network, rows, session.device, flip=session.flip)
        unseen.append((logits, labels))
        accuracy = float((logits.argmax(1) == labels).mean())
    if unseen:
        temperature = best_temperature(*(np.concatenate(parts) for parts in zip(*unseen, strict=True)))
    if len(session.validation):
        scores = conformal_scores(softmax(logits.astype(np.float64) / temperature, axis=1), labels)
    network.temperature.fill_(temperature)
    return WeightSet(copied_state(network), step, accuracy, temperature, scores)


def _offsets(strength: float, session: Session) -> NDArray[np.float64]:
    """Return what of each class's output is how frequent it is among the labels."""
    counts = session.class_counts()
    return np.asarray(strength * np.log(counts / counts.sum()), np.float64)


@torch.no_grad()
def _adjust(network: Classifier, offsets: NDArray[np.float64]) -> None:
    outputs = [module for module in network.head.modules() if isinstance(module, nn.Linear)]
    bias = outputs[-1].bias
    bias.sub_(torch.from_numpy(offsets).to(bias))


def _like(state: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a net's weights in the types of another's: vectors are predicted in double precision."""
    return {name: value.to(other[name].dtype) for name, value in state.items()}
