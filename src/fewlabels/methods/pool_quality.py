"""What a pool is made of: how much of it belongs to the classes, which of it, and how often each class comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from fewlabels.methods.prediction import logits_and_features
from fewlabels.methods.supervised import labeled_loss
from fewlabels.storage.cells import table
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch, Rows, some_rows
from fewlabels.training.calibration import best_scale_and_biases

if TYPE_CHECKING:
    from fewlabels.methods.session import Session

_HALVES = 2
_FOLDS = 3
# More pool samples than these do not make the classifier that tells them from labeled ones better, only slower.
_COMPARED = 10_000
# Of the squared weights, beside the mean loss of a sample: from hardly any to nearly no difference seen.
_PENALTIES = (0.01, 0.1, 1.0, 10.0)
_ITERATIONS = 100
_ROUNDS = 100
_LEAST_SHARE = 0.02
_TINY = 1e-12


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

    def _repr_html_(self) -> str:
        rows = [{"class": number, "share": float(share)} for number, share in enumerate(self.prior)]
        kept = f"at most {self.inside_share:.1%} of {len(self.belongs):,} pool samples belong to a class"
        return f"<p>{kept}; {int(self.members.sum()):,} are learned from</p>{table(rows)}"


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


def agreed_prior(found: Sequence[NDArray[np.floating]], learned: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often each class comes, by as much of two estimates as they agree on.

    Each is off by what its own classifier takes for what. So of their mean distance to the shares that were learned
    from, only that much is taken as their two distances have in common: all where they are alike, none where they
    point to different classes.

    Parameters
    ----------
    found : two ndarrays of shape (n_classes,)
        Estimates, from classifiers that have learned from different samples.
    learned : ndarray of shape (n_classes,)
        Share of each class among the labels, > 0.

    References
    ----------
    Efron & Morris, "Stein's estimation rule and its competitors", 1973, for the shrinking; here the noise is told
    by the two estimates.

    Examples
    --------
    >>> even = np.array([0.5, 0.5])
    >>> agreed_prior([np.array([0.8, 0.2]), np.array([0.7, 0.3])], even).round(2).tolist()
    [0.74, 0.26]
    >>> agreed_prior([np.array([0.8, 0.2]), np.array([0.3, 0.7])], even).tolist()
    [0.5, 0.5]
    """
    one, other = (np.asarray(shares) - learned for shares in found)
    mean = (one + other) / 2
    common = min(1.0, max(0.0, float(one @ other) / max(float(mean @ mean), _TINY)))
    shares = np.maximum(learned + common * mean, _TINY)
    return np.asarray(shares / shares.sum(), np.float64)


def inside_share(
    positive: NDArray[np.float64], pool: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> float:
    """Return at most which share of the pool is distributed as the positive samples are.

    If a share s of the pool is, at least s times the positives' share of it lies above any score; so the least
    ratio of the two, over scores, bounds s from above. Two standard errors are added to each ratio.

    Parameters
    ----------
    positive, pool : ndarray
        Scores, higher for what looks like a positive sample, from classifiers that had not learned from the sample.
    weights : ndarray, optional
        Of the positive samples, > 0: how often each should count.

    References
    ----------
    Blanchard, Lee & Scott, "Semi-supervised novelty detection", 2010.

    Examples
    --------
    >>> scores = np.arange(1000.0)
    >>> round(inside_share(scores, np.concatenate([scores, scores - 5000])), 1)
    0.5
    """
    weights = np.ones(len(positive)) if weights is None else weights
    order = np.argsort(-positive, kind="stable")
    above = np.cumsum(weights[order]) / weights.sum()
    rows = np.minimum(np.searchsorted(above, np.linspace(0.3, 1.0, 29) - 1e-9), len(positive) - 1)
    of_positive = np.minimum(above[rows], 1.0)
    ranked = np.sort(pool)
    of_pool = np.maximum(1 - np.searchsorted(ranked, positive[order[rows]]) / len(pool), 1 / len(pool))
    # Unequal weights tell as much as fewer equal ones (Kish's effective number).
    count = weights.sum() ** 2 / (weights**2).sum()
    errors = np.sqrt((1 - of_positive) / (of_positive * count) + (1 - of_pool) / (of_pool * len(pool)))
    return float(min(1.0, (of_pool / of_positive * (1 + 2 * errors)).min()))


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
    learned = learned_from(belongs)
    if members.sum() < learned:
        members = np.zeros(len(belongs), bool)
        members[np.argsort(-log_ratios, kind="stable")[:learned]] = True
    return belongs, members


def learned_from(belongs: NDArray[np.float64]) -> int:
    """Return how many pool samples are learned from: what likely belongs to a class, or else the likeliest of all.

    Examples
    --------
    >>> learned_from(np.array([0.9, 0.6, 0.1])), learned_from(np.full(100, 0.1))
    (2, 2)
    """
    return max(1, round(_LEAST_SHARE * len(belongs)), int((belongs >= 0.5).sum()))


def compared(
    positive: NDArray[np.floating], pool: NDArray[np.floating], draws: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log ratios of density, positive samples over pool, for both.

    A logistic regression tells features of positive samples from features of the pool. What it says of a sample
    comes from one that had not learned from it: otherwise it would tell apart too well what is the same. The penalty
    is that of the least loss on such samples.

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
    folds = min(_FOLDS, len(positive), len(pool))
    if folds < 2:
        return np.zeros(len(positive)), np.zeros(len(pool))
    fold_of_positive, fold_of_pool = (draws.permutation(len(rows)) % folds for rows in (positive, pool))
    chosen = [draws.permutation(np.flatnonzero(fold_of_pool != fold))[:_COMPARED] for fold in range(folds)]
    best, least = (np.zeros(len(positive)), np.zeros(len(pool))), np.log(2)
    for penalty in _PENALTIES:
        of_positive, of_pool = np.empty(len(positive)), np.empty(len(pool))
        for fold in range(folds):
            learned = positive[fold_of_positive != fold]
            features = np.concatenate([learned, pool[chosen[fold]]])
            labels = np.arange(len(features)) < len(learned)
            model = LogisticRegression(
                C=1 / (penalty * len(features)), class_weight="balanced", max_iter=_ITERATIONS, tol=1e-3
            )
            model.fit(features, labels)
            for found, rows, folds_of in ((of_positive, positive, fold_of_positive), (of_pool, pool, fold_of_pool)):
                found[folds_of == fold] = model.decision_function(rows[folds_of == fold])
        # Where nothing sets the two apart, no penalty does better than saying so.
        loss = (np.logaddexp(0, -of_positive).mean() + np.logaddexp(0, of_pool).mean()) / 2
        if loss < least:
            best, least = (of_positive, of_pool), loss
    return best


@dataclass(frozen=True)
class Half:
    """What a net that has learned from one half of the labels says of the other half, and of the pool.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Classes of the other half.
    of_positive, of_pool : ndarray of shape (n,), (m,)
        Log ratios of density, labeled samples over pool, for the other half and for the pool.
    probabilities, of_pool_probabilities : ndarray of shape (n, n_classes), (m, n_classes)
        Calibrated class probabilities of both.
    """

    labels: NDArray[np.int64]
    of_positive: NDArray[np.float64]
    of_pool: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    of_pool_probabilities: NDArray[np.float64]


def settled(halves: list[Half], learned: NDArray[np.float64]) -> PoolQuality:
    """Return what two halves together say of a pool.

    How often each class comes is found first, each pool sample counted by how much it looks like a labeled one: what
    is rarer in the pool than among the labels counts a little too much, and what belongs to no class hardly. Then
    densities are compared with those that the labeled samples would have if their classes came as often: so a class
    may be rarer or more frequent in the pool than among the labels.

    Parameters
    ----------
    halves : list of Half
        Two.
    learned : ndarray of shape (n_classes,)
        Share of each class among the labels, > 0.
    """
    found = []
    for half in halves:
        likeness = np.maximum(np.exp(np.minimum(half.of_pool, 0.0)), _TINY)
        found.append(estimated_prior(half.of_pool_probabilities, learned, likeness))
    prior = agreed_prior(found, learned)
    factors = prior / learned
    shares, ratios = [], []
    for half in halves:
        of_positive = half.of_positive + np.log(np.maximum(half.probabilities @ factors, _TINY))
        of_pool = half.of_pool + np.log(np.maximum(half.of_pool_probabilities @ factors, _TINY))
        shares.append(inside_share(of_positive, of_pool, factors[half.labels]))
        ratios.append(of_pool)
    share = float(np.mean(shares))
    belongs, members = judged(np.mean(ratios, axis=0), share)
    return PoolQuality(share, prior, belongs, members)


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
    targets, counts = session.labeled.labels, session.class_counts()
    if counts.min() < _HALVES:
        raise InputError(
            "assess_pool=True needs two labeled samples of each class to learn from, beside those held out; "
            "label more, or leave it off"
        )
    draws = np.random.default_rng(session.next_seed())
    halves = StratifiedKFold(_HALVES, shuffle=True, random_state=int(draws.integers(2**31)))
    # Labeled samples that count among the pool would be taken for what tells how much of it belongs.
    pool = some_rows(session.pool, np.arange(session.given_pool))
    found = []
    for number, (learned, unseen) in enumerate(halves.split(np.zeros(len(targets)), targets), 1):
        part = session.part(learned)
        network = part.new_classifier(plain=True)
        part.train(network, partial(_loss, session.method, network), stage=f"pool, half {number}", **length)
        samples = Rows([session.labeled.samples[unseen].cpu().numpy()])
        (logits, features), (pool_logits, pool_features) = (
            logits_and_features(network, rows, session.device, flip=session.flip, precision=session.recipe.precision)
            for rows in (samples, pool)
        )
        of_positive, of_members = compared(features, pool_features, draws)
        scale, biases = best_scale_and_biases(logits, targets[unseen])
        probabilities, pool_probabilities = (
            softmax(scale * outputs.astype(np.float64) + biases, axis=1) for outputs in (logits, pool_logits)
        )
        found.append(Half(targets[unseen], of_positive, of_members, probabilities, pool_probabilities))
    quality = settled(found, counts / len(targets))
    labeled = len(session.pool) - session.given_pool
    return replace(
        quality,
        belongs=np.concatenate([quality.belongs, np.ones(labeled)]),
        members=np.concatenate([quality.members, np.ones(labeled, bool)]),
    )


def _loss(method: Any, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    return {"supervised": labeled_loss(network, batch, view="medium", label_smoothing=method.label_smoothing)}
