"""Images that are in memory, checked and brought into one form."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewlabels.data.parts import as_array
from fewlabels.storage.errors import InputError

# What images that were normalized, and that was undone, may lie outside of their range.
_ROUNDING = 1e-3


def read_images(X: Any, *, what: str = "X") -> Any:
    """Return images as uint8 of shape (n, height, width, channels).

    Parameters
    ----------
    X : array-like
        uint8 in 0 to 255 or floats in [0, 1], of shape (n, H, W) or (n, H, W, C) with C 1 or 3. Lazy rows
        (`fewlabels.data.ImageRows`) of uint8 with four axes are passed through without being read.
    what : str
        What to call it in an error.

    Returns
    -------
    array-like
        Floats are rounded to the nearest of 256 levels.

    Raises
    ------
    InputError
        If shape, type or range is none of these.
    """
    is_lazy = not isinstance(X, np.ndarray) and hasattr(X, "shape") and getattr(X, "dtype", None) == np.uint8
    if is_lazy and len(X.shape) == 4:
        images = X
    else:
        images = np.asarray(X[:]) if is_lazy else as_array(X, what)
        if images.ndim == 3:
            images = images[..., None]
    if len(images.shape) != 4 or images.shape[3] not in (1, 3):
        raise InputError(
            f"{what} has shape {tuple(images.shape)}; images are (n, height, width) or (n, height, width, channels) "
            "with 1 or 3 channels, last"
        )
    if len(images) == 0:
        raise InputError(f"{what} holds no images (0 samples); at least 1 is needed")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fiub":
        raise InputError(f"{what} has dtype {images.dtype}; images are uint8, or floats in [0, 1]")
    low, high = float(np.min(images)), float(np.max(images))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{what} contains NaN or infinity; images are uint8, or floats in [0, 1]")
    if images.dtype.kind in "iu":
        if low < 0 or high > 255:
            raise InputError(f"{what} has values from {low:g} to {high:g}; integer images are in 0 to 255")
        return images.astype(np.uint8)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        hint = "; divide by 255 or convert to uint8" if 2 < high <= 255 and low >= 0 else ""
        raise InputError(f"{what} has values from {low:g} to {high:g}; float images are in [0, 1]{hint}")
    levels = np.round(images * 255)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)
