"""Whether an image is of the kind that a model learned from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from fewlabels.methods.examples import Examples
from fewlabels.storage.errors import InputError

# A score below says that an image is unlike all but so many of the labeled ones.
UNLIKE = 0.05
_NEIGHBORS = 3
# With fewer held-out examples, all are measured, each against the others.
_ENOUGH_HELD_OUT = 10
_LEAST = 1e-9


class InDistribution:
    """Scores from 0 to 1 of how much like a model's labeled examples images are, by the model's own features.

    An image's distance is the mean of those to its three nearest labeled examples that the model was trained on, all
    features scaled to length 1. Its score is the share of labeled images that are at least as far: labeled images that
    were held out, or where fewer than ten were, all labeled images, each measured against the others. So of images from
    where the labeled ones come from, one in twenty has a score below 0.05. Images for training lie nearer to each
    other than new ones do: where none were held out, scores of new images are too low, all by about as much.

    Parameters
    ----------
    examples : Examples
        At least two.

    Raises
    ------
    InputError
        If there are fewer.

    References
    ----------
    Sun et al., "Out-of-distribution detection with deep nearest neighbors", 2022. Bates et al., "Testing for outliers
    with conformal p-values", 2023.

    Examples
    --------
    >>> places = np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.15]], np.float32)
    >>> examples = Examples(places, np.zeros(4, np.int64), places, np.zeros(4, bool))
    >>> InDistribution(examples).scores(np.array([[1.0, 0.2], [-1.0, 1.0]])).round(2).tolist()
    [0.88, 0.02]
    """

    def __init__(self, examples: Examples) -> None:
        if len(examples) < 2:
            raise InputError(f"the model has {len(examples)} labeled examples; 2 are needed to tell what is like them")
        places = normalize(examples.embeddings.astype(np.float64))
        learned, held_out = places[~examples.held_out], places[examples.held_out]
        enough = len(held_out) >= _ENOUGH_HELD_OUT and len(learned) >= 1
        # With fewer no score can be below a twentieth by distance alone.
        self.is_measured = enough and 1 / (len(held_out) + 1) <= UNLIKE
        self._near = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(learned if enough else places)
        self._count = min(_NEIGHBORS, len(learned) if enough else len(places) - 1)
        self.distances = np.sort(self._distances(held_out if enough else None))

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the scores of images, above 0 and at most 1, from their features (n, features)."""
        found = self._distances(normalize(np.asarray(embeddings, np.float64)))
        measured = len(self.distances)
        farthest = self.distances[-1]
        shares = np.arange(measured, 0, -1) / (measured + 1)
        # Between two of the labeled images a score is between theirs; beyond the farthest it falls with the distance.
        # Of equal distances all are at least as far.
        places, first = np.unique(self.distances, return_index=True)
        apart = places > 0
        inside = np.interp(found, np.append(0.0, places[apart]), np.append(1.0, shares[first][apart]))
        beyond = found > farthest
        inside[beyond] = np.maximum(shares[-1] * farthest / found[beyond], _LEAST)
        return np.asarray(inside)

    def _distances(self, places: NDArray[np.float64] | None) -> NDArray[np.float64]:
        # Without places: of the examples themselves, each to the others.
        return np.asarray(self._near.kneighbors(places, n_neighbors=self._count)[0].mean(1))
