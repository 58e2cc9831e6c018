"""In which order to label a pool, so that few labels help most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor

from fewlabels.storage.arguments import check_count
from fewlabels.storage.errors import InputError, nearest

DEFAULT_STRATEGY = "uncertain-diverse"
DEFAULT_COUNT = 500
# Chosen among so many images, and so that they stand for so many: the table of how near each is to each is held in
# memory, 64 MB of it, whatever the size of the pool.
CANDIDATES = 4000
_REFERENCES = 4000
# What brings less than this share of all that can be brought brings nothing but rounding.
_NOTHING = 1e-6
# Rows of the embeddings that are worked on at once.
_BLOCK = 8192


def rank_for_labeling(
    probabilities: Any,
    embeddings: Any,
    labeled_embeddings: Any = None,
    *,
    strategy: str | None = None,
    random_state: int = 0,
    count: int = DEFAULT_COUNT,
) -> NDArray[np.int64]:
    """Return a pool's rows, that whose label would help most first.

    Strategies; before there is a model, `diverse` and `random` alone:

    - `uncertain-diverse`: images that stand for many of which the model is unsure. Each step takes the image that
      brings the sum over the pool of (how unsure the model is of an image) times (how near that is to one with a
      label) up most. So what is labeled already, or chosen before, is not chosen twice, what is like nothing else
      stands for nothing, and a group of unsure images is asked about by its middle.
    - `diverse`: the same, all images counting alike.
    - `margin`: those first for which the two most probable classes are nearest.
    - `entropy`: those first whose probabilities have the highest entropy.
    - `random`: in random order, the bar that the others must clear.

    Parameters
    ----------
    probabilities : array-like of shape (n, n_classes), or None
        Of the pool's images, rows that sum to 1; None before there is a model.
    embeddings : array-like of shape (n, features)
        Of the pool's images.
    labeled_embeddings : array-like of shape (m, features), optional
        Of the images that have a label.
    strategy : str, optional
        A key of `STRATEGIES`; `uncertain-diverse` when not given, and without probabilities `diverse`.
    random_state : int
        Of the random order, and of the few thousand images that are looked at in a large pool.
    count : int
        So many are chosen one by one, each with regard to those before; the others follow, the least sure first,
        without probabilities in random order.

    Returns
    -------
    ndarray of int64, shape (n,)
        Every row once.

    Raises
    ------
    InputError
        If the strategy is unknown or needs probabilities, or the arrays do not fit together or hold NaN.

    References
    ----------
    Wei, Iyer & Bilmes, "Submodularity in data subset selection and active learning", 2015 (facility location, with a
    regard to uncertainty). Hacohen, Dekel & Weinshall, "Active learning on a budget: opposite strategies suit high and
    low budgets", 2022. Scheffer, Decomain & Wrobel, "Active hidden Markov models for information extraction", 2001
    (margin).

    Examples
    --------
    Two images that are alike, one that the model is sure of, and one that is unlike the others:

    >>> probabilities = [[0.5, 0.5], [0.5, 0.5], [0.99, 0.01], [0.6, 0.4]]
    >>> embeddings = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]
    >>> rank_for_labeling(probabilities, embeddings, [[0.0, 2.0]]).tolist()
    [0, 3, 2, 1]
    >>> rank_for_labeling(probabilities, embeddings, strategy="margin").tolist()
    [0, 1, 3, 2]
    """
    strategy = check_strategy(strategy, has_model=probabilities is not None)
    places = np.asarray(embeddings, np.float32)
    if places.ndim != 2 or not len(places):
        raise InputError(f"embeddings of shape {places.shape}; expected (n, features), n at least 1")
    table = None
    if probabilities is not None:
        table = np.asarray(probabilities, np.float64)
        if table.ndim != 2 or len(table) != len(places):
            raise InputError(
                f"probabilities of shape {table.shape} and embeddings of shape {places.shape}; expected (n, classes) "
                "and (n, features)"
            )
        if table.shape[1] < 2:
            raise InputError(f"probabilities of shape {table.shape}; expected a column for each of at least 2 classes")
    known = np.empty((0, places.shape[1]), np.float32)
    if labeled_embeddings is not None:
        known = np.asarray(labeled_embeddings, np.float32)
    if known.ndim != 2 or known.shape[1] != places.shape[1]:
        raise InputError(f"labeled_embeddings of shape {known.shape}; expected (m, {places.shape[1]})")
    if not all(np.isfinite(values).all() for values in (table, places, known) if values is not None):
        raise InputError("probabilities or embeddings hold NaN or infinity")
    check_count("count", count)
    return STRATEGIES[strategy](table, places, known, count, check_random_state(random_state))


def check_strategy(strategy: str | None, *, has_model: bool = True) -> str:
    """Return a strategy, the default one where none is given; refuse one that is not known, or needs a model."""
    if strategy is None:
        return DEFAULT_STRATEGY if has_model else "diverse"
    if strategy not in STRATEGIES:
        raise InputError(
            f"unknown strategy {strategy!r}{nearest(str(strategy), STRATEGIES)} (known: {', '.join(STRATEGIES)})"
        )
    if not has_model and strategy not in _WITHOUT_MODEL:
        raise InputError(
            f"strategy {strategy!r} asks a model what it is unsure of, and there is none yet; take "
            f"{' or '.join(_WITHOUT_MODEL)}"
        )
    return strategy


def margin_uncertainty(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how near the two most probable classes of each image are, from 0 (sure) to 1 (the same)."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(1 - (two[:, 1] - two[:, 0]))


def _by_margin(probabilities: Any, _: Any, __: Any, count: int, draws: np.random.RandomState) -> NDArray[np.int64]:
    return np.argsort(-margin_uncertainty(probabilities), kind="stable")


def _by_entropy(probabilities: Any, _: Any, __: Any, count: int, draws: np.random.RandomState) -> NDArray[np.int64]:
    logs = np.log(np.clip(probabilities, 1e-300, None))
    return np.argsort((probabilities * logs).sum(1), kind="stable")


def _at_random(
    _: Any, embeddings: NDArray[np.float32], __: Any, count: int, draws: np.random.RandomState
) -> NDArray[np.int64]:
    return draws.permutation(len(embeddings))


def _uncertain_diverse(
    probabilities: Any,
    embeddings: NDArray[np.float32],
    labeled: NDArray[np.float32],
    count: int,
    draws: np.random.RandomState,
) -> NDArray[np.int64]:
    unsure = margin_uncertainty(probabilities)
    return _cover(unsure, unsure, embeddings, labeled, count, draws)


def _diverse(
    probabilities: Any,
    embeddings: NDArray[np.float32],
    labeled: NDArray[np.float32],
    count: int,
    draws: np.random.RandomState,
) -> NDArray[np.int64]:
    then = draws.random_sample(len(embeddings)) if probabilities is None else margin_uncertainty(probabilities)
    return _cover(np.ones(len(embeddings)), then, embeddings, labeled, count, draws)


STRATEGIES: dict[str, Callable[..., NDArray[np.int64]]] = {
    "uncertain-diverse": _uncertain_diverse,
    "diverse": _diverse,
    "margin": _by_margin,
    "entropy": _by_entropy,
    "random": _at_random,
}
_WITHOUT_MODEL = ("diverse", "random")


def _cover(
    weights: NDArray[np.float64],
    then: NDArray[np.float64],
    embeddings: NDArray[np.float32],
    labeled: NDArray[np.float32],
    count: int,
    draws: np.random.RandomState,
) -> NDArray[np.int64]:
    """Return first what a greedy facility location chooses, then all others, those with the largest `then` first."""
    rows = np.arange(len(embeddings))
    candidates = _drawn(rows, CANDIDATES, draws)
    references = _drawn(rows, _REFERENCES, draws)
    center = embeddings[references].mean(0, dtype=np.float64).astype(np.float32)
    standing = _directions(embeddings[references], center)
    asked = _directions(embeddings[candidates], center)
    # How near each candidate is to each reference: the cosine about the pool's mean, or 0.
    nearness = (asked @ standing.T).clamp_(min=0)
    covered = torch.zeros(len(references))
    for start in range(0, len(labeled), _BLOCK):
        block = _directions(labeled[start : start + _BLOCK], center)
        covered = torch.maximum(covered, (block @ standing.T).amax(0))
    weight = torch.from_numpy(weights[references].astype(np.float32))
    chosen = candidates[_greedy(nearness, weight, covered, min(count, len(candidates)))]
    others = np.setdiff1d(rows, chosen)
    return np.concatenate([chosen, others[np.argsort(-then[others], kind="stable")]])


def _greedy(nearness: Tensor, weight: Tensor, covered: Tensor, count: int) -> NDArray[np.int64]:
    """Choose one by one what raises the weighted sum of the nearest most.

    What an image would add only shrinks as others are chosen, so that an old figure is a bound: only those are
    computed anew whose bound is above the best that is known (Minoux, 1978).
    """
    bounds = torch.empty(len(nearness))
    for start in range(0, len(nearness), _BLOCK):
        bounds[start : start + _BLOCK] = (nearness[start : start + _BLOCK] - covered).clamp_(min=0) @ weight
    enough = float(weight.sum())
    chosen: list[int] = []
    for _ in range(count):
        fresh = torch.zeros(len(bounds), dtype=torch.bool)
        while True:
            best = int(bounds.argmax())
            if fresh[best]:
                break
            bounds[best] = (nearness[best] - covered).clamp_(min=0) @ weight
            fresh[best] = True
        if bounds[best] <= _NOTHING * enough:
            break  # every image has one like it that is labeled or chosen
        chosen.append(best)
        covered = torch.maximum(covered, nearness[best])
        bounds[best] = -1
    return np.array(chosen, np.int64)


def _directions(embeddings: NDArray[np.float32], center: NDArray[np.float32]) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(embeddings - center), dim=1)


def _drawn(rows: NDArray[np.int64], most: int, draws: np.random.RandomState) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(draws.choice(rows, most, replace=False))
