"""What `X` may be, checked and brought into one form."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fewlabels.data.parts import as_array, as_list
from fewlabels.data.rows import FeatureRows
from fewlabels.storage.errors import InputError


def is_images(X: Any) -> bool:
    """Say whether `X` holds images, by its number of axes: (n, H, W) or (n, H, W, C)."""
    if scipy.sparse.issparse(X):
        return False
    X = as_list(X)
    shape = X.shape if hasattr(X, "shape") else as_array(X).shape
    return len(shape) in (3, 4)


def read_features(X: FeatureRows, views: int, features: int, backbone: dict[str, Any] | None, what: str) -> FeatureRows:
    """Return features that a pretrained net has made, without reading them, checked against the labeled ones.

    Parameters
    ----------
    X : FeatureRows
        What is to be checked.
    views, features : int
        Of the labeled ones.
    backbone : dict or None
        Facts of the net that made the labeled ones, where they are known.
    what : str
        What they are called in an error.

    Raises
    ------
    InputError
        If their length, the number of views, or the net that made them is another.
    """
    # Of samples to measure on and to predict the first view is looked at, those of the pool are learned from.
    if X.feature_size != features or X.views not in ((views,) if what == "unlabeled" else (1, views)):
        raise InputError(
            f"features of length {X.feature_size} of {X.views} views of each image; expected {features} of {views}, as "
            "in training"
        )
    if backbone is not None and X.backbone is not None and _other_features(X.backbone, backbone):
        as_it_was = " as it was" if X.backbone["net"] == backbone["net"] else ""
        raise InputError(
            f"{what} has features of {X.backbone['net']}; expected those of {backbone['net']}{as_it_was}, as in "
            "training: embed the images with that net"
        )
    return X


def _other_features(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether a net gives other features than another, as far as is known."""
    known = one.get("weights") and other.get("weights")
    return bool(known) and any(one.get(key) != other.get(key) for key in ("weights", "pooling"))


def read_vectors(X: Any, features: int, what: str) -> NDArray[np.float32]:
    """Return more vectors, `what` they are called in an error, checked against the labeled ones."""
    vectors = np.asarray(as_array(X, what), dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != features:
        raise InputError(f"{what} has shape {vectors.shape}; expected (n, {features}) as in X")
    if not np.isfinite(vectors).all():
        raise InputError(f"{what} contains NaN or infinity; fill or leave out those rows")
    return vectors
