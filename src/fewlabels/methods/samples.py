"""What `X` may be, checked and brought into one form."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fewlabels.data.parts import as_array, as_list, refuse_masked, without_gradient
from fewlabels.data.rows import FeatureRows
from fewlabels.storage.errors import InputError


def is_images(X: Any) -> bool:
    """Say whether `X` holds images, by its number of axes: (n, H, W) or (n, H, W, C)."""
    if scipy.sparse.issparse(X):
        return False
    X = as_list(X)
    shape = X.shape if hasattr(X, "shape") else as_array(X).shape
    return len(shape) in (3, 4)


def read_features(X: FeatureRows, views: int, features: int) -> FeatureRows:
    """Return features that a pretrained net has made, without reading them, checked against the labeled ones.

    Raises
    ------
    InputError
        If their length, or the number of views, is another.
    """
    if X.feature_size != features or X.views not in (1, views):
        raise InputError(
            f"features of length {X.feature_size} of {X.views} views of each image; expected {features} of {views}, as "
            "in training"
        )
    return X


def read_vectors(X: Any, features: int, what: str) -> NDArray[np.float32]:
    """Return more vectors, `what` they are called in an error, checked against the labeled ones."""
    refuse_masked(X, what)
    vectors = np.asarray(without_gradient(X), dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != features:
        raise InputError(f"{what} has shape {vectors.shape}; expected (n, {features}) as in X")
    if not np.isfinite(vectors).all():
        raise InputError(f"{what} contains NaN or infinity; fill or leave out those rows")
    return vectors
