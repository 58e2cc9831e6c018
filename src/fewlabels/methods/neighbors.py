"""The nearest of many vectors, by products of matrices a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

# Below, trees are faster than comparing all with all.
_TREE_FEATURES = 15
# Above, candidates are looked for among the leading principal components: a quarter of the work and less.
_SHORTENED_FROM = 20_000
_COMPONENTS = 64
# So many candidates for each neighbor that is wanted.
_CANDIDATES = 3
# Similarities held at once: what stays within a tenth of a gigabyte.
_CHUNK_NUMBERS = 25_000_000
# The largest of a group stands for the group: the k groups with the largest hold the k largest of all.
_GROUP = 32
_SAMPLE = 20_000
_GATHERED_NUMBERS = 500_000


class NearestRows:
    """Finds the nearest of given vectors by Euclidean distance.

    Few features are searched with scikit-learn's trees; more by comparing every vector with every other, which products
    of matrices do at the machine's full speed and in memory that does not grow with the square of their number. Of
    more than 20,000 vectors of more than 64 features, three candidates for each neighbor are taken by the distance
    in the 64 leading principal components, and the nearest of these by the distance itself: nearly all are those that
    a full search finds (benchmarks/spreading.py measures it).

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        With n of at least 2.
    neighbors : int
        At least 1; fewer where there are fewer vectors.

    Examples
    --------
    >>> vectors = np.eye(20, dtype=np.float32)
    >>> vectors[3] = vectors[7] * 0.9
    >>> distances, rows = NearestRows(vectors, 1).kneighbors()
    >>> rows[7].tolist(), distances[7].round(4).tolist()
    ([3], [0.1])
    """

    def __init__(self, vectors: NDArray[Any], neighbors: int) -> None:
        self.neighbors = min(neighbors, len(vectors) - 1)
        self._tree = None
        if vectors.shape[1] <= _TREE_FEATURES:
            self._tree = NearestNeighbors(n_neighbors=self.neighbors).fit(vectors)
            return
        # Distances are the same from any origin, and products of vectors keep most digits about their mean.
        self._center = vectors.mean(0, dtype=np.float64).astype(np.float32)
        self._vectors = torch.from_numpy(np.asarray(vectors, np.float32) - self._center)
        self._axes: Tensor | None = None
        self._short = self._vectors
        if len(vectors) > _SHORTENED_FROM and vectors.shape[1] > _COMPONENTS:
            every = max(1, len(vectors) // _SAMPLE)
            sample = self._vectors[::every].double()
            _, axes = torch.linalg.eigh(torch.cov(sample.T))
            self._axes = axes[:, -_COMPONENTS:].float()
            self._short = self._vectors @ self._axes
        self._half_squares = self._short.square().sum(1).div_(2)
        self._squares = self._vectors.square().sum(1)

    def kneighbors(self, vectors: NDArray[Any] | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return distances to, and rows of, the nearest of the given vectors, nearest first.

        Parameters
        ----------
        vectors : ndarray of shape (m, d), optional
            Whose neighbors to find; those of the given vectors themselves, each without itself, when not given.

        Returns
        -------
        distances, rows : ndarray of shape (m, neighbors)
        """
        if self._tree is not None:
            found: tuple[NDArray[np.float64], NDArray[np.int64]] = self._tree.kneighbors(vectors)
            return found
        own = vectors is None
        asked = self._vectors
        if vectors is not None:
            asked = torch.from_numpy(np.asarray(vectors, np.float32) - self._center)
        size = max(1, _CHUNK_NUMBERS // len(self._vectors))
        distances = np.empty((len(asked), self.neighbors))
        rows = np.empty((len(asked), self.neighbors), np.int64)
        groups = -(-len(self._vectors) // _GROUP)
        # Allocated once: a fresh block of this size for each chunk would cost as much as the product.
        nearness = torch.full((min(size, len(asked)), groups * _GROUP), -torch.inf)
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            part_rows = torch.arange(start, start + len(part)) if own else None
            at = slice(start, start + len(part))
            distances[at], rows[at] = (value.numpy() for value in self._nearest(part, part_rows, nearness))
        return distances, rows

    def _nearest(self, asked: Tensor, own: Tensor | None, nearness: Tensor) -> tuple[Tensor, Tensor]:
        short = asked if self._axes is None else asked @ self._axes
        near = nearness[: len(asked)]
        inside = near[:, : len(self._short)]
        torch.mm(short, self._short.T, out=inside)
        # Of two vectors the one with the larger x y - |y|^2 / 2 is the nearer to x.
        inside -= self._half_squares
        if own is not None:
            inside[torch.arange(len(asked)), own] = -torch.inf
        others = len(self._vectors) - (own is not None)
        count = self.neighbors if self._axes is None else min(_CANDIDATES * self.neighbors, others)
        rows = largest(near, count)
        if self._axes is not None:
            # Again the larger x y - |y|^2 / 2 is the nearer.
            rows = rows.gather(1, self._products(asked, rows).topk(self.neighbors, dim=1, sorted=False).indices)
        distances, order = self._distances(asked, rows).sort(dim=1, stable=True)
        return distances.double(), rows.gather(1, order)

    def _products(self, asked: Tensor, rows: Tensor) -> Tensor:
        """Return x y - |y|^2 / 2 of each vector x asked for and the vectors y in its rows."""
        found = torch.empty(rows.shape)
        for at, gathered in self._gathered(rows):
            torch.bmm(gathered, asked[at].unsqueeze(2), out=found[at].unsqueeze(2))
        return found.sub_(self._squares[rows] / 2)

    def _distances(self, asked: Tensor, rows: Tensor) -> Tensor:
        """Return distances, by differences: those of vectors that are nearly alike keep their digits so."""
        found = torch.empty(rows.shape)
        for at, gathered in self._gathered(rows):
            torch.linalg.vector_norm(gathered.sub_(asked[at].unsqueeze(1)), dim=2, out=found[at])
        return found

    def _gathered(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the vectors of a few rows at a time, in one block of memory that stays in the processor's cache."""
        count, length = rows.shape[1], self._vectors.shape[1]
        few = max(1, _GATHERED_NUMBERS // (count * length))
        block = torch.empty(min(few, len(rows)) * count, length)
        for start in range(0, len(rows), few):
            part = rows[start : start + few]
            into = block[: part.numel()]
            torch.index_select(self._vectors, 0, part.flatten(), out=into)
            yield slice(start, start + len(part)), into.view(len(part), count, length)


def largest(values: Tensor, count: int) -> Tensor:
    """Return the columns of the largest values of each row, in any order.

    Parameters
    ----------
    values : Tensor
        (rows, columns), columns a multiple of 32.
    count : int
        At most the number of columns.

    Examples
    --------
    >>> values = torch.arange(64.0).flip(0).view(1, 64)
    >>> sorted(largest(values, 3)[0].tolist())
    [0, 1, 2]
    """
    groups = values.shape[1] // _GROUP
    if groups <= count:
        return values.topk(count, dim=1, sorted=False).indices
    best = values.view(len(values), groups, _GROUP).amax(2).topk(count, dim=1, sorted=False).indices
    columns = (best.unsqueeze(2) * _GROUP + torch.arange(_GROUP)).flatten(1)
    return columns.gather(1, values.gather(1, columns).topk(count, dim=1, sorted=False).indices)
