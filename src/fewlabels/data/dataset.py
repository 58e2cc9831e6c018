"""What every source ends as."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewlabels.data.rows import ImageRows
from fewlabels.storage.cells import sentences, table, text

UNKNOWN = -1
# Of the classes, in a notebook: names, and pictures.
_MOST_NAMED, _MOST_SHOWN = 20, 12


@dataclass(frozen=True)
class SkippedImage:
    """A file that could not be read, and why."""

    path: str
    reason: str


class ImageNames(Sequence[str]):
    """What to call images, so that the same name finds the same image when the source is read again.

    Files are called as the source calls them; where images are no files, by part and row: `train[17]`. Rows that could
    not be read are counted.

    Parameters
    ----------
    pieces : sequence of (str, ndarray, sequence of str or None)
        For the images of each part in turn: the part, their rows in it, and the names of these where they are files.

    Examples
    --------
    >>> names = ImageNames([("train", np.array([4, 7]), None), ("unlabeled", np.array([0]), ("unlabeled/a.jpg",))])
    >>> list(names)
    ['train[4]', 'train[7]', 'unlabeled/a.jpg']
    """

    def __init__(self, pieces: Sequence[tuple[str, NDArray[np.int64], Sequence[str] | None]]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(len(rows) for _, rows, _ in self.pieces)

    def __iter__(self) -> Iterator[str]:
        for part, rows, names in self.pieces:
            yield from (f"{part}[{row}]" for row in rows.tolist()) if names is None else names

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one name or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        for part, rows, names in self.pieces:
            if 0 <= index < len(rows):
                return f"{part}[{rows[index]}]" if names is None else names[index]
            index -= len(rows)
        raise IndexError("no image has this number")


@dataclass(frozen=True)
class Diagnostics:
    """What is known but kept from training.

    Attributes
    ----------
    pool_labels : ndarray of shape (n_pool,)
        True class index of each pool image, -1 where unknown.
    labeled_names, pool_names, test_names, validation_names : tuple of str or None
        What the images are called, where they are files or rows of a table.
    """

    pool_labels: NDArray[np.int64]
    labeled_names: tuple[str, ...] | None = None
    pool_names: tuple[str, ...] | None = None
    test_names: tuple[str, ...] | None = None
    validation_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ImageDataset:
    """Labeled, unlabeled and test images of one size.

    Attributes
    ----------
    name : str
        Short name.
    source : str
        What was given to `load_dataset`.
    class_names : tuple of str
        Names of the classes; labels are indices into it.
    labeled, pool, test : ImageRows
        uint8 images, (n, height, width, channels).
    labels, test_labels : ndarray of int64
        Class indices.
    validation, validation_labels : ImageRows and ndarray, or None
        Where the source has a validation part of its own.
    diagnostics : Diagnostics
        The pool's true labels where known, and file names; nothing here is for training.
    skipped : tuple of SkippedImage
        Files left out.
    notes : tuple of str
        What was done that a user should know.
    content_key : str
        Identifies the images' content, where a cache has computed that.
    labels_per_class : int or None
        How many labels of each class were given; None for all there are.
    backbone : dict or None
        What made the features, where `labeled`, `pool` and `test` are features (`FeatureRows`) rather than images: see
        `fewlabels.nets.BackboneFacts`.
    pool_names : ImageNames or None
        What to call each pool image, in a labels file above all.
    origin : dict or None
        Arguments of `load_dataset` that give the same images again; None for arrays.
    labels_tell : bool
        Whether labels given by hand alone tell the classes.
    labels_given : int
        How many labels a labels file gave, beside those of `labels_per_class`.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    labeled: ImageRows
    labels: NDArray[np.int64]
    pool: ImageRows
    test: ImageRows
    test_labels: NDArray[np.int64]
    diagnostics: Diagnostics
    validation: ImageRows | None = None
    validation_labels: NDArray[np.int64] | None = None
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = field(default=())
    content_key: str = ""
    labels_per_class: int | None = None
    backbone: dict[str, Any] | None = None
    pool_names: ImageNames | None = None
    origin: dict[str, Any] | None = None
    labels_tell: bool = False
    labels_given: int = 0

    @property
    def is_features(self) -> bool:
        """Whether a pretrained net has made features of the images."""
        return self.labeled.ndim == 2

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels; (0, 0) of features."""
        return (0, 0) if self.is_features else (self.labeled.shape[1], self.labeled.shape[2])

    @property
    def channels(self) -> int:
        """1 for gray images, 3 for color; 0 of features."""
        return 0 if self.is_features else self.labeled.shape[3]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the images' content and the split: equal for equal experiments."""
        digest = hashlib.sha256(self.content_key.encode())
        wholes = (self.labeled, self.pool, self.test, self.validation)
        for rows in [part for whole in wholes for part in _parts(whole)]:
            digest.update(repr(rows.shape).encode())
            if (key := rows.content_key) is not None:
                digest.update(key.encode())
                continue
            chosen = np.arange(len(rows)) if rows.rows is None else rows.rows
            digest.update(np.ascontiguousarray(chosen).tobytes())
            if not self.content_key:
                for start in range(0, len(rows), 4096):
                    digest.update(rows[start : start + 4096].tobytes())
        for labels in (self.labels, self.test_labels, self.validation_labels):
            if labels is not None:
                digest.update(np.ascontiguousarray(labels, np.int64).tobytes())
        return digest.hexdigest()

    def _repr_html_(self) -> str:
        parts = {"labeled": self.labeled, "pool": self.pool, "validation": self.validation, "test": self.test}
        rows = [{"part": name, "images": len(images)} for name, images in parts.items() if images is not None]
        size = f"{self.labeled.shape[1]} features" if self.is_features else "×".join(map(str, self.labeled.shape[1:]))
        names = ", ".join(self.class_names[:_MOST_NAMED]) + (" …" if len(self.class_names) > _MOST_NAMED else "")
        about = f"<p><b>{text(self.name)}</b>, {size}, {len(self.class_names)} classes: {text(names)}</p>"
        return about + table(rows) + self._thumbnails() + sentences(self.notes)

    def _thumbnails(self) -> str:
        """Return the first labeled image of each class as HTML, as many as fit beside each other."""
        if self.is_features:
            return ""
        shown = []
        for label in np.unique(self.labels)[:_MOST_SHOWN]:
            image = self.labeled[int(np.flatnonzero(self.labels == label)[0])]
            content = io.BytesIO()
            Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(content, "PNG")
            name = text(self.class_names[int(label)])
            data = base64.b64encode(content.getvalue()).decode()
            style = "height: 48px; image-rendering: pixelated; margin-right: 4px"
            shown.append(f'<img src="data:image/png;base64,{data}" alt="{name}" title="{name}" style="{style}">')
        return f"<div>{''.join(shown)}</div>"

    def summary(self) -> dict[str, Any]:
        """Return the facts of the data set as plain values."""
        return {
            "name": self.name,
            "source": self.source,
            "classes": list(self.class_names),
            "image_size": list(self.image_size),
            "channels": self.channels,
            **({"features": self.labeled.shape[1], "backbone": self.backbone} if self.is_features else {}),
            "labeled": len(self.labeled),
            "labels_given": self.labels_given,
            "pool": len(self.pool),
            "validation": 0 if self.validation is None else len(self.validation),
            "test": len(self.test),
            "skipped": len(self.skipped),
            "notes": list(self.notes),
            "fingerprint": self.fingerprint,
        }


def _parts(rows: ImageRows | None) -> list[ImageRows]:
    """Return rows as they are, or the parts of stacked ones where the content of some is known unread."""
    if rows is None:
        return []
    parts = list(getattr(rows, "parts", []))
    return parts if rows.rows is None and any(part.content_key is not None for part in parts) else [rows]
