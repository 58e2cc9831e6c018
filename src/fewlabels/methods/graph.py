"""Graphs of samples that are near each other, and labels that spread along their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from fewlabels.methods.neighbors import NearestRows

_TOLERANCE = 1e-4
_MOST_ITERATIONS = 200
# What a sample's shares may change by in a step when labels have come to rest, and the most steps after the solver's.
_SETTLED, _MOST_STEPS = 1e-3, 300
# Of the scale in the middle, the least that any sample has.
_LEAST_SCALE = 0.05


def affinities(distances: NDArray[Any], own: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """Return how near samples are: exp(-d^2 / (s t)), where s and t are the two samples' own scales of distance.

    Parameters
    ----------
    distances : ndarray
        Not below 0.
    own, theirs : ndarray
        Scales, > 0, that broadcast with `distances`.

    References
    ----------
    Zelnik-Manor & Perona, "Self-tuning spectral clustering", 2004.

    Examples
    --------
    >>> affinities(np.array([0.0, 2.0]), np.array([1.0, 1.0]), np.array([1.0, 4.0])).round(4).tolist()
    [1.0, 0.3679]
    """
    return np.exp(-(np.asarray(distances, np.float64) ** 2) / (own * theirs))  # type: ignore[no-any-return]


class NeighborGraph:
    """Samples joined to those near them, each edge with a weight.

    An edge joins two samples where either is among the `neighbors` nearest of the other. Its weight is
    exp(-d^2 / (s t)), where s and t are the distances from the two to their own last neighbor, so that dense and
    sparse regions are treated alike.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        With n of at least 2.
    neighbors : int
        At least 1; fewer where there are fewer samples.

    Attributes
    ----------
    normalized : csr_array of shape (n, n)
        D^(-1/2) W D^(-1/2) of the weights W, with D their sums.

    References
    ----------
    Zhou et al., "Learning with local and global consistency", 2004; Zelnik-Manor & Perona, 2004, for the scales.

    Examples
    --------
    >>> graph = NeighborGraph(np.array([[0.0], [1.0], [5.0], [6.0]]), 1)
    >>> graph.spread(np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]]), 0.5).argmax(1).tolist()
    [0, 0, 1, 1]
    """

    def __init__(self, features: NDArray[Any], neighbors: int) -> None:
        count = len(features)
        self._search = NearestRows(features, neighbors)
        distances, rows = self._search.kneighbors()
        last = distances[:, -1].astype(np.float64)
        # A sample with more copies than neighbors would have no scale, and no edge but to these.
        self._least_scale = _LEAST_SCALE * float(np.median(last[last > 0])) if (last > 0).any() else 1.0
        self._scales = np.maximum(last, self._least_scale)
        weights = affinities(distances, self._scales[:, None], self._scales[rows])
        starts = np.arange(0, rows.size + 1, rows.shape[1])
        one_way = csr_array((weights.ravel(), rows.ravel(), starts), shape=(count, count))
        both = one_way.maximum(one_way.T)
        inverse = diags_array(1 / np.sqrt(np.maximum(both.sum(1), np.finfo(float).tiny)))
        self.normalized = csr_array(inverse @ both @ inverse)

    def spread(self, given: NDArray[Any], alpha: float) -> NDArray[np.float64]:
        """Return (1 - alpha) (I - alpha S)^(-1) Y for labels Y and the normalized weights S.

        Parameters
        ----------
        given : ndarray of shape (n, classes)
            One-hot labels, rows of zeros where there is none.
        alpha : float
            In (0, 1): how far labels spread.

        Returns
        -------
        ndarray of shape (n, classes)
            Not below 0; a row of zeros where no label comes.
        """
        right = (1 - alpha) * np.asarray(given, np.float64)
        return _come_to_rest(self.normalized, right, alpha, np.maximum(_solve(self.normalized, right, alpha), 0.0))

    def carried(self, features: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean of the graph's values over the neighbors of other samples, weighted by the affinities.

        Parameters
        ----------
        features : ndarray of shape (m, d)
            Of samples that are not in the graph.
        values : ndarray of shape (n, k)
            Of those that are.
        """
        distances, rows = self._search.kneighbors(features)
        own = np.maximum(distances[:, -1:].astype(np.float64), self._least_scale)
        weights = affinities(distances, own, self._scales[rows])
        weights /= np.maximum(weights.sum(1, keepdims=True), np.finfo(float).tiny)
        return np.einsum("mk,mkc->mc", weights, values[rows])  # type: ignore[no-any-return]


def _solve(matrix: csr_array, right: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return (I - alpha S)^(-1) B by conjugate gradients, all columns of B in one product with S each step.

    SciPy's solver takes one column at a time, and reads the matrix anew for each.
    """
    found, rest = np.zeros_like(right), right.copy()
    direction, square = rest.copy(), (rest**2).sum(0)
    goal = _TOLERANCE**2 * square
    for _ in range(_MOST_ITERATIONS):
        moving = np.flatnonzero(square > goal)
        if not len(moving):
            break
        along = direction[:, moving]
        image = along - alpha * (matrix @ along)
        step = square[moving] / (along * image).sum(0)
        found[:, moving] += step * along
        rest[:, moving] -= step * image
        now = (rest[:, moving] ** 2).sum(0)
        direction[:, moving] = rest[:, moving] + now / square[moving] * along
        square[moving] = now
    return found


def _come_to_rest(
    matrix: csr_array, right: NDArray[np.float64], alpha: float, found: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a solution whose rows are right each for itself, from one that is right as a whole.

    Far from all labels the values are smaller than what the solver leaves over, and only their shares count. Steps
    F = alpha S F + B add up what is not below zero, so that nothing cancels.
    """
    for _ in range(_MOST_STEPS):
        following = alpha * (matrix @ found) + right
        change = np.abs(following - found).sum(1)
        found = following
        if (change <= _SETTLED * following.sum(1)).all():
            break
    return found
