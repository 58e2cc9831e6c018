"""Logistic regression on given features: a penalty chosen by cross-validation, weights as a net's head has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from fewlabels.methods.session import Session
from fewlabels.nets import Classifier
from fewlabels.nets.features import GivenFeatures
from fewlabels.nets.output import OutputLinear
from fewlabels.training.batches import Rows
from fewlabels.training.calibration import best_temperature

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# Where no class has two samples to validate on.
_UNCHOSEN = 0.03
_FOLDS = 5
_ITERATIONS = 200
# Of the mean loss's gradient, for `regressions`.
_TOLERANCE = 1e-3
_CHUNK = 2000
# The logit of a class that has no sample.
_NEVER = -1e3


def linear_classifier(sample_shape: tuple[int, ...], classes: int) -> Classifier:
    """Return an untrained linear classifier on given features."""
    encoder = GivenFeatures(sample_shape)
    channels = sample_shape[0] if len(sample_shape) == 1 else sample_shape[2]
    return Classifier(encoder, OutputLinear(encoder.feature_size, classes), channels)


@torch.inference_mode()
def given_features(session: Session, network: Classifier, rows: Rows) -> NDArray[np.float32]:
    """Return the features of samples as the linear classifier reads them, (n, feature_size)."""
    found = [network.features(session.plain(stored)).cpu() for stored in rows.chunks(_CHUNK, session.device)]
    if not found:
        return np.empty((0, network.encoder.feature_size), np.float32)
    return np.asarray(torch.cat(found).numpy(), np.float32)


@torch.no_grad()
def set_head(network: Classifier, weights: NDArray[np.floating], bias: NDArray[np.floating]) -> None:
    """Give a classifier the weights (classes, features) and the bias (classes,) of its head."""
    head = network.head
    assert isinstance(head, OutputLinear)
    head.weight.copy_(torch.from_numpy(np.asarray(weights)))
    head.bias.copy_(torch.from_numpy(np.asarray(bias)))


def fit_linear(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: int,
    penalty: float,
    sample_weights: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights and bias of a logistic regression with an L2 penalty.

    Minimizes the weighted mean cross-entropy + d penalty / 2000 |W|^2 with d features, so that a penalty means the same
    for short and for long ones.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Of a length of about sqrt(d), as `GivenFeatures` are.
    labels : ndarray of shape (n,)
        Class indices.
    classes : int
        Number of classes; those without a sample are never chosen.
    penalty : float
        Above 0.
    sample_weights : ndarray of shape (n,), optional
        At least 0; ones when not given.

    Returns
    -------
    weights, bias : ndarray
        (classes, d) and (classes,).

    Examples
    --------
    >>> weights, bias = fit_linear(np.array([[1.0], [-1.0]]), np.array([0, 1]), 3, 0.1)
    >>> bool(weights[0, 0] > 0 > weights[1, 0]), bias[2].item()
    (True, -1000.0)
    """
    rows, basis = in_their_span(features)
    weights, bias = regression(rows, labels, classes, features.shape[1] * penalty / 1000, sample_weights)
    return (weights if basis is None else weights @ basis), bias


def in_their_span(features: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating] | None]:
    """Return samples in coordinates of the space that they span, and the axes of these coordinates.

    The weights of a penalized regression lie in that space: where there are fewer samples than features, there are
    fewer unknowns, and the answer is the same.

    Examples
    --------
    >>> rows, axes = in_their_span(np.array([[3.0, 0.0, 4.0]]))
    >>> rows.shape, (rows @ axes).round(6).tolist()
    ((1, 1), [[3.0, 0.0, 4.0]])
    """
    if len(features) >= features.shape[1]:
        return features, None
    left, sizes, axes = np.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    return left * sizes, axes


def regression(
    rows: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: int,
    penalty: float,
    sample_weights: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights and bias that minimize the weighted mean cross-entropy + penalty / 2 |W|^2; see `fit_linear`."""
    total = float(len(labels) if sample_weights is None else sample_weights.sum())
    model = LogisticRegression(C=_inverse(penalty, labels, total), max_iter=_ITERATIONS)
    return _weights_of(_fitted(model, rows, labels, sample_weights), classes)


def regressions(
    rows: NDArray[np.floating], labels: NDArray[np.integer], classes: int, penalties: Sequence[float]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield weights and bias for each of several penalties, stronger ones first; see `regression`.

    Each begins where the one before ended, and to a tolerance at which the classes that are guessed hardly change: of
    9,000 samples of 3,200 features, six take a tenth of the time that each takes from scratch and to the end.
    """
    model = LogisticRegression(max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True)
    for penalty in penalties:
        model.set_params(C=_inverse(penalty, labels, len(labels)))
        yield _weights_of(_fitted(model, rows, labels), classes)


def _fitted(
    model: LogisticRegression,
    rows: NDArray[np.floating],
    labels: NDArray[np.integer],
    sample_weights: NDArray[np.floating] | None = None,
) -> LogisticRegression:
    """Fit a model, which may end before it has converged, and to many classes of few samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        return model.fit(rows, labels, sample_weight=sample_weights)


def _inverse(penalty: float, labels: NDArray[np.integer], total: float) -> float:
    """Return what scikit-learn calls `C`, for a penalty of the mean loss of samples that weigh so much in all."""
    # scikit-learn's penalty is of the sum of the losses; of two classes it penalizes w^2, which is twice the squares of
    # the weights -w/2 and w/2 that stand for them here.
    halves = 2 if len(np.unique(labels)) == 2 else 1
    return halves / (penalty * total)


def _weights_of(model: LogisticRegression, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights and bias of all classes, those that the model has not seen among them."""
    found = model.coef_
    weights, bias = np.zeros((classes, found.shape[1])), np.full(classes, _NEVER)
    if len(found) == 1:
        # Of two classes scikit-learn gives the second one's odds alone.
        weights[model.classes_] = np.stack([-found[0] / 2, found[0] / 2])
        bias[model.classes_] = np.array([-model.intercept_[0] / 2, model.intercept_[0] / 2])
    else:
        weights[model.classes_], bias[model.classes_] = found, model.intercept_
    return weights, bias


def choose_penalty(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: int,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[float, NDArray[np.float64] | None]:
    """Return the penalty under which held-out folds of the labeled samples are most likely, and their logits.

    Parameters
    ----------
    features, labels, classes
        See `fit_linear`.
    seed : int
        Of the folds.
    penalties : sequence of float
        To choose among, weaker ones first.

    Returns
    -------
    penalty : float
        One of them; the only one where there is no choice, and else a middling one where nothing can be held out.
    logits : ndarray of shape (n, classes), or None
        Of each sample by the classifier of the fold that it was held out from; None where a class has one sample alone.
    """
    counts = np.bincount(labels, minlength=classes)
    folds = min(_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return (penalties[0] if len(penalties) == 1 else _UNCHOSEN), None
    rows, _ = in_their_span(features)
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, labels))
    best: tuple[float, float, NDArray[np.float64] | None] = (np.inf, _UNCHOSEN, None)
    for penalty in penalties:
        logits = np.empty((len(labels), classes))
        for learned, judged in splits:
            strength = features.shape[1] * penalty / 1000
            weights, bias = regression(rows[learned], labels[learned], classes, strength)
            logits[judged] = rows[judged] @ weights.T + bias
        scaled = log_softmax(logits / best_temperature(logits, labels), axis=1)
        surprise = -float(scaled[np.arange(len(labels)), labels].mean())
        # Of equally good ones the stronger penalty, which comes later.
        if surprise <= best[0]:
            best = (surprise, penalty, logits)
    return best[1], best[2]
