"""What a model says of the pool: of images drawn at random, which class, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewlabels.data import ImageDataset
from fewlabels.data.rows import ImageRows, StackedRows
from fewlabels.data.streamed import StreamedRows
from fewlabels.evaluation.metrics import class_probabilities
from fewlabels.methods import SemiSupervisedClassifier

# Upper ends of the confidences that images are sorted by.
BANDS = (0.5, 0.8, 0.95, 1.0)
_CLASSIFIED = 1000
_SHOWN = 160
_LARGEST_GROUP = 4
# Of a pool that is read as a stream: a draw from all blocks would decode every one.
_BLOCKS = 2


@dataclass(frozen=True)
class PoolSample:
    """Pool images that were drawn at random and classified, and some of them to look at.

    Attributes
    ----------
    guesses : ndarray of int64, shape (n,)
        Class indices.
    confidences : ndarray of float32, shape (n,)
        Probability that was given to the guess.
    truth : ndarray of int64, shape (n,)
        Class indices, -1 where unknown. No training sees them.
    shown : ndarray of int64, shape (m,)
        Which of the n are shown: of each class and band of confidence the first few of the draw.
    images : ndarray of uint8, shape (m, height, width, channels)
        Those; none where a pool of features has no images.
    pool : int
        Size of the pool.
    drawn_from : int
        How many of its images the draw was from: all, or those of some blocks of a pool that is read as a stream.
    """

    guesses: NDArray[np.int64]
    confidences: NDArray[np.float32]
    truth: NDArray[np.int64]
    shown: NDArray[np.int64]
    images: NDArray[np.uint8]
    pool: int
    drawn_from: int

    @property
    def bands(self) -> NDArray[np.int64]:
        """Index into `BANDS` of each of the n."""
        return bands_of(self.confidences)


def bands_of(confidences: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the index into `BANDS` of each confidence; a band holds its upper end.

    Examples
    --------
    >>> bands_of(np.array([0.3, 0.5, 0.9, 1.0])).tolist()
    [0, 0, 2, 3]
    """
    return np.minimum(np.searchsorted(BANDS, confidences, side="left"), len(BANDS) - 1).astype(np.int64)


def sample_pool(
    method: SemiSupervisedClassifier,
    data: ImageDataset,
    columns: NDArray[np.int64],
    at_hand: NDArray[np.int64],
) -> PoolSample | None:
    """Classify pool images that are drawn at random, the same for every model; None where there is no pool.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted.
    data : ImageDataset
    columns : ndarray of int
        The data set's class index of each of the method's classes.
    at_hand : ndarray of int
        Rows of the pool to draw from, see `rows_at_hand`.
    """
    if not len(data.pool):
        return None
    rows = np.random.default_rng(0).permutation(at_hand)[:_CLASSIFIED]
    probabilities = class_probabilities(method, data.pool.take(rows), columns, len(data.class_names))
    guesses, confidences = probabilities.argmax(1), probabilities.max(1).astype(np.float32)
    shown = np.empty(0, np.int64) if data.is_features else few_of_each(guesses, bands_of(confidences))
    images = data.pool.take(rows[shown])[:] if len(shown) else np.empty((0, 1, 1, 1), np.uint8)
    truth = data.diagnostics.pool_labels[rows]
    return PoolSample(guesses.astype(np.int64), confidences, truth, shown, images, len(data.pool), len(at_hand))


def rows_at_hand(pool: ImageRows) -> NDArray[np.int64]:
    """Return the rows of a pool that can be looked at without reading all of it: two blocks of a stream.

    Examples
    --------
    >>> rows_at_hand(ImageRows(np.zeros((3, 2, 2, 1), np.uint8))).tolist()
    [0, 1, 2]
    """
    rows = np.arange(len(pool)) if pool.rows is None else pool.rows
    if not isinstance(pool, StackedRows | StreamedRows):
        return np.arange(len(pool))
    which = np.searchsorted(pool.starts, rows, side="right") - 1
    if isinstance(pool, StreamedRows):
        chosen = np.random.default_rng(0).permutation(np.unique(which))[:_BLOCKS]
        return np.flatnonzero(np.isin(which, chosen))
    near = np.zeros(len(rows), bool)
    for number, part in enumerate(pool.parts):
        own = which == number
        near[own] = np.isin(rows[own] - pool.starts[number], rows_at_hand(part))
    return np.flatnonzero(near)


def few_of_each(guesses: NDArray[np.int64], bands: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows to show: the first of each class and band, then the second of each, as far as there is room.

    Examples
    --------
    >>> few_of_each(np.array([0, 0, 1, 0]), np.array([3, 3, 3, 0])).tolist()
    [0, 2, 3, 1]
    """
    groups: dict[tuple[int, int], int] = {}
    rank = np.empty(len(guesses), np.int64)
    for row, group in enumerate(zip(guesses.tolist(), bands.tolist(), strict=True)):
        rank[row] = groups[group] = groups.get(group, -1) + 1
    order = np.argsort(rank, kind="stable")
    return order[rank[order] < _LARGEST_GROUP][:_SHOWN].astype(np.int64)
