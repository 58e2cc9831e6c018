"""Features that a final net gives to some test and pool images, kept small, for a map of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from fewlabels.data import ImageDataset
from fewlabels.methods import SemiSupervisedClassifier

_TEST, _POOL = 600, 300
_KEPT_AXES = 30
NEIGHBORS = 10


@dataclass(frozen=True)
class FeatureSample:
    """Features of test images, and of pool images after them.

    Attributes
    ----------
    points : ndarray of float16, shape (n, d)
        The features on their first principal axes, at most 30; scaled so that the first has a deviation of one.
    labels : ndarray of int64, shape (n_test,)
        True classes of the test images, which come first.
    guesses : ndarray of int64, shape (n_test,)
        What the net takes them for.
    explained : float
        Share of the variance that the axes hold.
    """

    points: NDArray[np.float16]
    labels: NDArray[np.int64]
    guesses: NDArray[np.int64]
    explained: float

    def neighbors(self) -> NDArray[np.int64]:
        """Return the classes of the nearest other test images of each test image, (n_test, at most 10)."""
        points = self.points[: len(self.labels)].astype(np.float64)
        count = min(NEIGHBORS, len(points) - 1)
        near = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)
        return self.labels[near]  # type: ignore[no-any-return]


def sample_features(
    method: SemiSupervisedClassifier, data: ImageDataset, guesses: NDArray[np.int64], at_hand: NDArray[np.int64]
) -> FeatureSample | None:
    """Return the features of images drawn at random, the same for every model; None where there are none to draw.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted.
    data : ImageDataset
    guesses : ndarray of int
        What it takes the test images for.
    at_hand : ndarray of int
        Rows of the pool to draw from, see `fewlabels.evaluation.pool_sample.rows_at_hand`.
    """
    draws = np.random.default_rng(1)
    test = draws.permutation(len(data.test))[:_TEST]
    pool = draws.permutation(at_hand)[:_POOL]
    if len(test) < 3:
        return None
    features = method.transform(data.test.take(test))
    if len(pool):
        features = np.concatenate([features, method.transform(data.pool.take(pool))])
    # Where all lie in one place there is nothing to see.
    if not np.isfinite(features).all() or not np.ptp(features, axis=0).any():
        return None
    axes = PCA(min(_KEPT_AXES, *features.shape), random_state=0)
    points = axes.fit_transform(features)
    scale = max(float(points[:, 0].std()), np.finfo(np.float32).tiny)
    return FeatureSample(
        (points / scale).astype(np.float16),
        data.test_labels[test],
        guesses[test],
        float(np.nan_to_num(axes.explained_variance_ratio_.sum())),
    )
