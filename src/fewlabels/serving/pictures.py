"""Pictures as a page shows them: small, and inside of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewlabels.data.decode import (
    FORMATS,
    PHOTO_FORMATS,
    UnreadableImage,
    decode,
    pillow_is_sound,
    read_file,
    read_header,
)


def data_address(pixels: NDArray[np.uint8]) -> str:
    """Return an image as a `data:` address.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, channels)
        uint8, 1 or 3 channels.

    Returns
    -------
    str
        A PNG where the image is of a few pixels, which are kept exactly; else a WebP.

    Examples
    --------
    >>> data_address(np.zeros((8, 8, 1), np.uint8))[:22]
    'data:image/png;base64,'
    """
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    kind = "PNG" if max(picture.size) <= 64 else "WEBP"
    content = io.BytesIO()
    picture.save(content, kind, **({} if kind == "PNG" else {"quality": 85}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def fitted(source: Path | bytes, side: int) -> NDArray[np.uint8]:
    """Return an image file in its own proportions, as large as fits into a square; never enlarged.

    Parameters
    ----------
    source : Path or bytes
        An image file, or its content.
    side : int
        Of the square, in pixels.

    Returns
    -------
    ndarray of shape (height, width, channels)
        uint8.

    Raises
    ------
    UnreadableImage
        If it is damaged or too large; see `fewlabels.data.decode`.

    Examples
    --------
    >>> content = io.BytesIO()
    >>> Image.new("RGB", (400, 200), "red").save(content, "PNG")
    >>> fitted(content.getvalue(), 100).shape
    (50, 100, 3)
    """
    content = read_file(source) if isinstance(source, Path) else source
    header = read_header(content)
    scale = min(1.0, side / max(header.width, header.height))
    size = (max(1, round(header.height * scale)), max(1, round(header.width * scale)))
    return decode(content, size, gray=header.gray)


def checked(content: bytes, most_pixels: int) -> bytes:
    """Return an uploaded file's content, if it is an image of at most so many pixels.

    Where Pillow is older than 13, it must be a JPEG, PNG or WebP image: most of the weaknesses that 13 mended are in
    readers of other formats.

    Raises
    ------
    UnreadableImage
        If it is none, or larger.

    Examples
    --------
    >>> checked(b"MZ", 100)
    Traceback (most recent call last):
        ...
    fewlabels.data.decode.UnreadableImage: not an image
    """
    header = read_header(content, FORMATS if pillow_is_sound() else PHOTO_FORMATS)
    if header.width * header.height > most_pixels:
        raise UnreadableImage(f"{header.width}x{header.height} pixels, above the limit of {most_pixels:,}")
    return content
