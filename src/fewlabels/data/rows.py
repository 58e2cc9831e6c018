"""A selection of images that is read only where it is looked at."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fewlabels.data.dataset import SkippedImage

# Of the hash of a sample.
HASH_BYTES = 16


def chosen_rows(index: Any, rows: NDArray[np.int64] | None, count: int) -> Any:
    """Return which rows an index chooses, of a selection of them or of all `count`, which are not listed for that.

    Examples
    --------
    >>> chosen_rows([0, -1], None, 10**12).tolist()
    [0, 999999999999]
    """
    if isinstance(index, tuple) and len(index) == 2 and index[1] is Ellipsis:
        index = index[0]  # as scikit-learn asks for rows
    if rows is not None:
        return rows[index]
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    numbers = np.asarray(index)
    if numbers.dtype.kind not in "iu":  # a mask, or nothing
        return np.arange(count)[index]
    if numbers.size and not -count <= int(numbers.min()) <= int(numbers.max()) < count:
        raise IndexError(f"rows {numbers.min()} to {numbers.max()} of {count:,}")
    numbers = numbers.astype(np.int64)
    return np.where(numbers < 0, numbers + count, numbers)


def gathered(
    chosen: NDArray[np.int64],
    starts: NDArray[np.int64],
    shape: tuple[int, ...],
    read: Callable[[int, NDArray[np.int64]], NDArray[np.uint8]],
    order: Callable[[int], Any] | None = None,
) -> NDArray[np.uint8]:
    """Return images that lie in several pieces, one after the other; one image alone where `chosen` is one row.

    Parameters
    ----------
    chosen : ndarray of int
        Rows of all pieces together.
    starts : ndarray of int
        The row that each piece begins with, and the number of rows.
    shape : tuple of int
        Of an image.
    read : callable
        Returns images of a piece, by its number and their rows in it.
    order : callable, optional
        By what the numbers of pieces are sorted before they are read; by themselves when not given.

    Examples
    --------
    >>> gathered(np.array([2, 0]), np.array([0, 2, 3]), (), lambda number, rows: 10 * number + rows).tolist()
    [10, 0]
    """
    flat = np.atleast_1d(chosen)
    images = np.empty((len(flat), *shape), np.uint8)
    which = np.searchsorted(starts, flat, side="right") - 1
    for number in sorted(np.unique(which).tolist(), key=order):
        wanted = which == number
        images[wanted] = read(number, flat[wanted] - starts[number])
    return images if chosen.ndim else images[0]


class ImageRows:
    """Rows of one uint8 array, which may be memory-mapped and larger than memory.

    Parameters
    ----------
    array : ndarray of shape (N, height, width, channels)
        uint8 images.
    rows : ndarray of int, optional
        Which of them, in this order; all when not given.

    Examples
    --------
    >>> rows = ImageRows(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1), np.array([2, 0]))
    >>> len(rows), rows[0][0, 0, 0], rows[:].shape
    (2, np.uint8(8), (2, 2, 2, 1))
    """

    def __init__(self, array: NDArray[np.uint8], rows: NDArray[np.int64] | None = None) -> None:
        self.array = array
        self.rows = None if rows is None else np.asarray(rows, np.int64)

    # Names the content where it is known without being read, which a pool that does not fit is not to be for that.
    content_key: str | None = None

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of images, height, width, channels."""
        return (len(self), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes: 4."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        return self.array.dtype

    @property
    def skipped(self) -> tuple[SkippedImage, ...]:
        """Images in whose row another stands, since they could not be read: only of files that are read as needed."""
        return ()

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return a copy of one image (an integer) or several (a slice, integers, a mask)."""
        if isinstance(index, int | np.integer):
            row = int(index) if self.rows is None else int(self.rows[index])
            return np.array(self.array[row])
        if isinstance(index, slice) and self.rows is None:
            return np.array(self.array[index])
        return np.asarray(self.array[chosen_rows(index, self.rows, len(self))])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("ImageRows cannot become an array without a copy")
        values = self[:]
        return values if dtype is None else values.astype(dtype)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return a selection of this selection, without reading images."""
        part = copy.copy(self)
        rows = np.asarray(rows, np.int64)
        part.rows = rows if self.rows is None else self.rows[rows]
        return part

    def joined(self, other: ImageRows) -> ImageRows:
        """Return these rows and then others, as one selection of the same array where they share it."""
        # Where there are several arrays, that of the first does not say what the rows are of.
        simple = type(self) is type(other) is ImageRows
        if simple and self.array is other.array and self.rows is not None and other.rows is not None:
            return ImageRows(self.array, np.concatenate([self.rows, other.rows]))
        return StackedRows([self, other])


class FeatureRows(ImageRows):
    """Rows of one array of features that a pretrained net has made, which may be memory-mapped.

    `rows[:]` is an array of all of them; a selection, as scikit-learn's splits take it, knows its views and its net.

    Parameters
    ----------
    array : ndarray of shape (N, views * features)
        float32; the features of an image as it is come first, then those of its other views.
    rows : ndarray of int, optional
        Which of them, in this order; all when not given.
    views : int
        How many views of each image there are, at least 1.
    backbone : dict, optional
        What made them: see `fewlabels.nets.BackboneFacts`.

    Examples
    --------
    >>> rows = FeatureRows(np.arange(8, dtype=np.float32).reshape(2, 4), views=2)
    >>> rows.feature_size, rows.plain().tolist()
    (2, [[0.0, 1.0], [4.0, 5.0]])
    >>> rows[1:].views, rows[:].shape
    (2, (2, 4))
    """

    array: NDArray[Any]

    def __init__(
        self,
        array: NDArray[np.float32],
        rows: NDArray[np.int64] | None = None,
        views: int = 1,
        backbone: dict[str, Any] | None = None,
    ) -> None:
        self.array = array
        self.rows = None if rows is None else np.asarray(rows, np.int64)
        self.views = views
        self.backbone = backbone

    def __getitem__(self, index: Any) -> Any:
        """Return an array of one row (an integer) or of all (`[:]`), else a selection, without reading features."""
        if isinstance(index, int | np.integer) or (isinstance(index, slice) and index == slice(None)):
            return super().__getitem__(index)
        return FeatureRows(self.array, chosen_rows(index, self.rows, len(self)), self.views, self.backbone)

    @property
    def feature_size(self) -> int:
        """Length of the features of one view."""
        return int(self.array.shape[1]) // self.views

    def plain(self) -> NDArray[np.float32]:
        """Return the features of the images as they are, (n, feature_size)."""
        return np.asarray(self[:][:, : self.feature_size], np.float32)

    def joined(self, other: ImageRows) -> FeatureRows:
        """Return these rows and then others of the same array."""
        assert self.array is other.array
        first, second = (np.arange(len(rows)) if rows.rows is None else rows.rows for rows in (self, other))
        return FeatureRows(self.array, np.concatenate([first, second]), self.views, self.backbone)


class StackedRows(ImageRows):
    """Several selections of different arrays, one after the other.

    Parameters
    ----------
    parts : list of ImageRows
        With images of one shape.
    """

    def __init__(self, parts: list[ImageRows], rows: NDArray[np.int64] | None = None) -> None:
        super().__init__(parts[0].array, rows)
        self.parts = parts
        self.starts = np.cumsum([0] + [len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.rows is None else len(self.rows)

    @property
    def skipped(self) -> tuple[SkippedImage, ...]:
        """Those of all parts."""
        return tuple(one for part in self.parts for one in part.skipped)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return a copy of one image or several."""
        chosen = np.asarray(chosen_rows(index, self.rows, len(self)))
        return gathered(chosen, self.starts, self.array.shape[1:], lambda number, rows: self.parts[number][rows])


class RecoloredRows(ImageRows):
    """A selection of gray images as color ones, or of color images as gray ones, as files are read as either.

    Parameters
    ----------
    images : ImageRows
        With 1 or 3 channels; these rows have 3 or 1.

    Examples
    --------
    >>> pixels = np.array([[[[255, 0, 0]]], [[[0, 0, 255]]]], np.uint8)
    >>> RecoloredRows(ImageRows(pixels))[:].ravel().tolist()
    [76, 29]
    """

    def __init__(self, images: ImageRows) -> None:
        _, height, width, channels = images.shape
        super().__init__(np.empty((0, height, width, 4 - channels), np.uint8))
        self.images = images
        if images.content_key is not None:
            self.content_key = f"{images.content_key} {4 - channels}"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skipped(self) -> tuple[SkippedImage, ...]:
        """Those of the images that are recolored."""
        return self.images.skipped

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return a copy of one image or several."""
        pixels = self.images[index]
        if pixels.shape[-1] == 1:
            return np.repeat(pixels, 3, axis=-1)
        # ITU-R 601-2 in 16 bits after the point, rounded, which is what Pillow makes of a file.
        red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
        gray: NDArray[np.uint32] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
        return gray.astype(np.uint8)[..., None]

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return a selection of this selection, without reading images."""
        return type(self)(self.images.take(rows))


def content_hashes(samples: NDArray[Any]) -> list[bytes]:
    """Return a 128-bit hash of what each sample holds.

    Examples
    --------
    >>> first, second, third = content_hashes(np.array([[1, 2], [3, 4], [1, 2]]))
    >>> first == third, first == second
    (True, False)
    """
    return [hashlib.blake2b(sample.tobytes(), digest_size=HASH_BYTES).digest() for sample in samples]
