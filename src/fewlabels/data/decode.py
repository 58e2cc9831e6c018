"""From the bytes of an image file to pixels."""

from __future__ import annotations

import functools
import io
import os
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import __version__ as _PILLOW
from PIL.TiffImagePlugin import TiffImageFile

# More than any photo for classification needs, less than what would fill memory.
MAX_PIXELS = 100_000_000
MAX_BYTES = 256 << 20
# Pillow knows more, among them formats that it hands to other programs (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "AVIF")
# The first that damaged images are not known to make write where it must not; 13.0.0 mended dozens of weaknesses.
SOUND_PILLOW = 13
# What photos come in. An older Pillow reads nothing else of what strangers send.
PHOTO_FORMATS = ("JPEG", "PNG", "WEBP")
_GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
# What may be white among values of which no format says that, smallest first.
_TOPS = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}
_EXIF_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258
# The filters of warnings are one list for all threads: two that silenced them in turns would leave them silent.
_ONE_SILENCES = threading.Lock()
_TURNED = {5, 6, 7, 8}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DIGITS = re.compile(r"(\d+)")


class UnreadableImage(Exception):
    """An image that cannot be used; the message says why in a few words."""


@dataclass(frozen=True)
class Header:
    """What an image says of itself before it is decoded."""

    width: int
    height: int
    gray: bool


def pillow_is_sound(version: str = _PILLOW) -> bool:
    """Say whether a version of Pillow is free of the weaknesses that 13.0.0 mended.

    Examples
    --------
    >>> pillow_is_sound("12.3.0"), pillow_is_sound("13.0.0")
    (False, True)
    """
    return int(version.split(".")[0]) >= SOUND_PILLOW


def read_header(source: Path | bytes, formats: Sequence[str] = FORMATS) -> Header:
    """Return an image's size (as it will be shown) and whether it is gray.

    Parameters
    ----------
    source : Path or bytes
        An image file, or its content.
    formats : sequence of str
        Pillow's names of the formats that may be read.

    Raises
    ------
    UnreadableImage
        If it is no image, or larger than 100 megapixels.
    """
    with _opened(source, formats) as image:
        width, height = image.size
        # Of a TIFF with the tag, Pillow tells the size as it will be when it has turned the image itself.
        is_swapped = isinstance(image, TiffImageFile) and _EXIF_ORIENTATION in image.tag_v2
        if _orientation(image) in _TURNED and not is_swapped:
            width, height = height, width
        return Header(width, height, image.mode in _GRAY_MODES)


def read_file(path: Path) -> bytes:
    """Return a file's content.

    Raises
    ------
    UnreadableImage
        If it is larger than any image that is read, or a link that leads nowhere.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        if path.is_symlink():
            raise UnreadableImage("a link that leads nowhere") from None
        raise
    if size > MAX_BYTES:
        raise UnreadableImage(f"{size >> 20:,} MiB, above the limit of {MAX_BYTES >> 20}")
    return path.read_bytes()


def decode(source: Path | bytes, size: tuple[int, int], *, gray: bool) -> NDArray[np.uint8]:
    """Return an image of the asked size.

    Orientation is applied, transparency is laid over white, the short side is scaled with antialiasing and
    the long side cropped at its center.

    Parameters
    ----------
    source : Path or bytes
        An image file, or its content.
    size : tuple of int
        Height and width.
    gray : bool
        Whether to return 1 channel, else 3.

    Returns
    -------
    ndarray of shape (height, width, channels)
        uint8.

    Raises
    ------
    UnreadableImage
        If it is damaged.
    """
    with _opened(source, FORMATS) as image:
        try:
            # JPEGs are decoded at a fraction of their size where that is enough: several times faster.
            image.draft("L" if gray else "RGB", (2 * size[1], 2 * size[0]))
            # While loading, Pillow turns TIFFs itself and takes the tag away: what is left of it is still to be done.
            image.load()
            picture = _turned(image)
            picture = _flattened(picture, _tells_white(image)).convert("L" if gray else "RGB")
            if picture.size != (size[1], size[0]):
                picture = ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.BICUBIC)
        except Exception as error:  # of a damaged file, Pillow's readers may raise anything at all
            raise UnreadableImage(_reason(error)) from error
    pixels = np.asarray(picture, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _opened(source: Path | bytes, formats: Sequence[str]) -> Image.Image:
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size == 0:
        raise UnreadableImage("the file is empty")
    try:
        with _ONE_SILENCES, warnings.catch_warnings():
            # Pillow warns of odd metadata and of large images; what matters is checked here.
            warnings.simplefilter("ignore")
            content = io.BytesIO(source) if isinstance(source, bytes) else source
            image = Image.open(content, formats=_built(tuple(formats)))
    except UnidentifiedImageError as error:
        raise UnreadableImage(_what_else(source)) from error
    except Exception as error:  # as in decoding
        raise UnreadableImage(_reason(error)) from error
    if not 0 < image.width * image.height <= MAX_PIXELS:
        image.close()
        raise UnreadableImage(f"{image.width}x{image.height} pixels, above the limit of {MAX_PIXELS:,}")
    return image


def _what_else(source: Path | bytes) -> str:
    """Return what a file is that is no image which can be read: what telephones write is one all the same."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(12)
    else:
        head = source[:12]
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "HEIC, which is not read: convert it to JPEG"
    if head[4:8] == b"ftyp" and head[8:12] == b"avif":
        return "AVIF, which is damaged or needs Pillow 11.3: install that, or convert it to JPEG"
    return "not an image"


@functools.cache
def _built(formats: tuple[str, ...]) -> list[str]:
    """Return those of the formats that this Pillow was built with."""
    Image.init()
    return [name for name in formats if name in Image.OPEN]


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # an image with nonsense beside its pixels is an image still
        return None


def _turned(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image) or 1)
    return image if turn is None else image.transpose(turn)


def pixels_of(images: Sequence[Image.Image]) -> list[NDArray[np.uint8]]:
    """Return the pixels of images that are open: (height, width), with colors in one of them (height, width, 3).

    They are turned as a camera says that they are to be shown, as those of files are.

    Raises
    ------
    UnreadableImage
        If one has values of which no range is known, or is damaged.
    """
    for image in images:
        try:
            image.load()
        except Exception as error:  # as in decoding
            raise UnreadableImage(f"pixels that cannot be read: {_reason(error)}") from error
    pictures = [_flattened(_turned(image), _tells_white(image)) for image in images]
    mode = "L" if all(image.mode in _GRAY_MODES for image in images) else "RGB"
    return [np.asarray(picture.convert(mode), np.uint8) for picture in pictures]


def _tells_white(image: Image.Image) -> bool:
    """Say whether an image's own values tell what is white."""
    # Of whole numbers, other formats than TIFF have 16 bits, and so may that.
    is_wide = isinstance(image, TiffImageFile) and image.tag_v2.get(_BITS_PER_SAMPLE, (0,))[0] == 32
    return image.mode == "F" or (image.mode == "I" and is_wide)


def _flattened(image: Image.Image, by_value: bool) -> Image.Image:
    """Return the image without transparency, and 16-bit grays and numbers whose values say what is white in 8 bits."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).any():
            raise UnreadableImage("no pixel is a number")
        # What was not measured is black, as below the lowest.
        values = np.where(np.isfinite(values), values, 0.0)
        top = _top(float(values.min()), float(values.max()), _TOPS[image.mode]) if by_value else 65535.0
        return Image.fromarray(np.clip(values / top * 255, 0, 255).round().astype(np.uint8))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image


def _top(low: float, high: float, tops: tuple[float, ...]) -> float:
    """Return what is white among numbers: the end of the smallest range that holds an image's.

    Not its own largest value: a dark image would be as bright as a light one.
    """
    # What rounds to the end of a range is within: sums of floats miss it by a little.
    top = next((top for top in tops if round(high / top * 255) <= 255), None)
    if top is None or round(low / top * 255) < 0:
        raise UnreadableImage(f"values from {low:g} to {high:g}; scale them to 0 to {tops[0]:g}")
    return top


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "truncated" if "truncated" in text.lower() else text.splitlines()[0][:200]


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a sort key that puts `img2` before `img10`; no two names have the same.

    Examples
    --------
    >>> sorted(["img10", "img2", "img02"], key=natural_key)
    ['img02', 'img2', 'img10']
    """
    pieces = _DIGITS.split(name.replace(os.sep, "/"))
    numbers = tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
    # Names that count alike would come as the file system lists them, which differs from disk to disk.
    return numbers, name
