"""Images as data URIs, small enough that many fit on a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

_LARGEST = 64
# Below, the few pixels are shown as they are.
_EXACT = 16
_QUALITY = 85


def picture(image: NDArray[np.uint8], largest: int = _LARGEST) -> str:
    """Return an image as a data URI: small ones exactly, as PNG, others as WebP.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, channels)
        One channel is gray, three are color.
    largest : int
        Pixels of the longer side at most.

    Examples
    --------
    >>> picture(np.zeros((8, 8, 1), np.uint8)).partition(",")[0]
    'data:image/png;base64'
    """
    opened = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    opened.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    if max(opened.size) <= _EXACT or not features.check("webp"):
        kind = "png"
        opened.save(content, "PNG", optimize=True)
    else:
        kind = "webp"
        opened.convert("RGB").save(content, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/{kind};base64," + base64.b64encode(content.getvalue()).decode()
