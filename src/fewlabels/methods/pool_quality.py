"""What a pool is made of: how much of it belongs to the classes, which of it, and how often each class comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from fewlabels.methods.prediction import predict_logits
from fewlabels.methods.supervised import labeled_loss
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch, Rows
from fewlabels.training.calibration import best_temperature

if TYPE_CHECKING:
    from fewlabels.methods.session import Session

_HALVES = 2
_FOLDS = 5
# More pool samples than these do not make the classifier that tells them from labeled ones better, only slower.
_COMPARED = 10_000
_PENALTY = 0.01
_ITERATIONS = 100
_ROUNDS = 100
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class PoolQuality:
    """What was estimated of a pool.

    Attributes
    ----------
    inside_share : float
        Share of the pool that belongs to one of the classes, in [0, 1]; an upper estimate.
    prior : ndarray of shape (n_classes,)
        How often each class comes among what belongs, a sum of one.
    belongs : ndarray of shape (n_pool,)
        Probability of each pool sample that it belongs to one of the classes.
    members : ndarray of bool, shape (n_pool,)
        What is to be learned from.
    """

    inside_share: float
    prior: NDArray[np.float64]
    belongs: NDArray[np.float64] = field(repr=False)
    members: NDArray[np.bool_] = field(repr=False)


def estimated_prior(
    probabilities: NDArray[np.float64],
    learned: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    *,
    shrink: float = 0.0,
) -> NDArray[np.float64]:
    """Return how often each class comes among samples, by expectation and maximization.

    Each round weights the probabilities by the ratio of the estimate to the share of the class that the classifier
    has learned from, scales each sample's to a sum of one, and takes their mean as the next estimate.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
        Of a calibrated classifier.
    learned : ndarray of shape (n_classes,)
        Share of each class among what it learned from, > 0.
    weights : ndarray of shape (n,), optional
        Of the samples.
    shrink : float
        How far each round draws the shares back to the learned ones, in [0, 1]: where probabilities are poor, rounds
        would otherwise give all to a few classes.

    References
    ----------
    Saerens, Latinne & Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities", 2002.

    Examples
    --------
    >>> sure = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> estimated_prior(sure, np.array([0.5, 0.5])).tolist()
    [0.75, 0.25]
    """
    found = np.asarray(learned, np.float64)
    for _ in range(_ROUNDS):
        moved = probabilities * (found / learned)
        moved /= np.maximum(moved.sum(1, keepdims=True), np.finfo(float).tiny)
        before, found = found, np.average(moved, axis=0, weights=weights)
        found = (1 - shrink) * found + shrink * learned
        if np.abs(found - before).max() < 1e-6:
            break
    return found / found.sum()  # type: ignore[no-any-return]


def inside_share(positive: NDArray[np.float64], pool: NDArray[np.float64]) -> float:
    """Return at most which share of the pool is distributed as the positive samples are.

    If a share s of the pool is, at least s times the positives' share of it lies above any score; so the least
    ratio of the two, over scores, bounds s from above. One standard error is added to each ratio.

    Parameters
    ----------
    positive, pool : ndarray
        Scores, higher for what looks like a positive sample; those of positives from classifiers that had not
        learned from them.

    References
    ----------
    Blanchard, Lee & Scott, "Semi-supervised novelty detection", 2010.

    Examples
    --------
    >>> scores = np.arange(1000.0)
    >>> round(inside_share(scores, np.concatenate([scores, scores - 5000])), 1)
    0.5
    """
    thresholds = np.quantile(positive, 1 - np.linspace(0.3, 1.0, 29))
    of_positive = (positive[None] >= thresholds[:, None]).mean(1)
    of_pool = np.maximum((pool[None] >= thresholds[:, None]).mean(1), 1 / len(pool))
    errors = np.sqrt((1 - of_positive) / (of_positive * len(positive)) + (1 - of_pool) / (of_pool * len(pool)))
    return float(min(1.0, (of_pool / of_positive * (1 + errors)).min()))


def judged(log_ratios: NDArray[np.float64], share: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability that each pool sample belongs to a class, and what is to be learned from.

    Parameters
    ----------
    log_ratios : ndarray of shape (n,)
        Logarithm of how dense samples of the classes are where a pool sample lies, over how dense the pool is.
    share : float
        Of the pool that belongs to a class.

    Examples
    --------
    >>> belongs, members = judged(np.log([2.0, 1.0, 0.01]), 0.6)
    >>> belongs.round(3).tolist(), members.tolist()
    ([1.0, 0.6, 0.006], [True, True, False])
    """
    belongs = np.minimum(1.0, share * np.exp(np.minimum(log_ratios, 50.0)))
    members = belongs >= 0.5
    least = max(1, round(_LEAST_SHARE * len(belongs)))
    if members.sum() < least:
        members = np.zeros(len(belongs), bool)
        members[np.argsort(-log_ratios, kind="stable")[:least]] = True
    return belongs, members


def compared(
    positive: NDArray[np.floating], pool: NDArray[np.floating], draws: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log ratios of density, positive samples over pool, for both.

    A logistic regression tells features of positive samples from features of the pool; those of a positive sample
    come from a classifier that had not learned from it.

    Parameters
    ----------
    positive : ndarray of shape (n, d)
        Features, n of at least 2.
    pool : ndarray of shape (m, d)
    draws : numpy Generator
        Chooses folds, and the pool samples to compare with.
    """
    mean, scale = pool.mean(0), np.maximum(pool.std(0), 1e-6)
    positive, pool = (positive - mean) / scale, (pool - mean) / scale
    rows = draws.permutation(len(pool))[:_COMPARED]
    of_positive, of_pool = np.empty(len(positive)), np.zeros(len(pool))
    folds = np.array_split(draws.permutation(len(positive)), min(_FOLDS, len(positive)))
    for held_out in folds:
        kept = np.setdiff1d(np.arange(len(positive)), held_out)
        features = np.concatenate([positive[kept], pool[rows]])
        labels = np.arange(len(features)) < len(kept)
        # Per sample of the rarer kind, so that few labels are not learned by heart.
        model = LogisticRegression(
            C=1 / (_PENALTY * len(features)), class_weight="balanced", max_iter=_ITERATIONS, tol=1e-3
        )
        model.fit(features, labels)
        of_positive[held_out] = model.decision_function(positive[held_out])
        of_pool += model.decision_function(pool) / len(folds)
    return of_positive, of_pool


def assess_pool(session: Session, length: dict[str, Any]) -> PoolQuality:
    """Return what the session's pool is made of.

    Nets learn from one half of the labeled samples each. The other half is to the net what samples of the classes
    in the pool are, unseen; so what sets its features apart from the pool's is what does not belong.

    Parameters
    ----------
    session : Session
        With at least two labeled samples of each class, and a pool.
    length : dict
        Of each half's training, as arguments of `Session.train`.
    """
    targets = session.labeled.targets.cpu().numpy()
    if np.bincount(targets, minlength=session.classes).min() < _HALVES:
        raise InputError(
            "assess_pool=True needs two labeled samples of each class to learn from, beside those held out; "
            "label more, or leave it off"
        )
    draws = np.random.default_rng(session.next_seed())
    halves = StratifiedKFold(_HALVES, shuffle=True, random_state=int(draws.integers(2**31)))
    ratios, positives = np.zeros(len(session.pool)), []
    probabilities = np.zeros((len(session.pool), session.classes))
    for number, (learned, unseen) in enumerate(halves.split(np.zeros(len(targets)), targets), 1):
        part = session.part(learned)
        network = part.new_classifier(plain=True)
        part.train(network, partial(_loss, session.method, network), stage=f"pool, half {number}", **length)
        samples = Rows([session.labeled.samples[unseen].cpu().numpy()])
        precision = session.recipe.precision
        of_unseen, of_pool = (
            predict_logits(network, rows, session.device, features=True, precision=precision)
            for rows in (samples, session.pool)
        )
        positive, log_ratios = compared(of_unseen, of_pool, draws)
        positives.append((positive, log_ratios))
        ratios += log_ratios / _HALVES
        temperature = best_temperature(session.logits(network, samples), targets[unseen])
        probabilities += softmax(session.logits(network, session.pool) / temperature, axis=1) / _HALVES
    share = float(np.mean([inside_share(positive, pool) for positive, pool in positives]))
    belongs, members = judged(ratios, share)
    counts = np.bincount(targets, minlength=session.classes) / len(targets)
    return PoolQuality(share, estimated_prior(probabilities, counts, belongs), belongs, members)


def _loss(method: Any, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    return {"supervised": labeled_loss(network, batch, view="medium", label_smoothing=method.label_smoothing)}
