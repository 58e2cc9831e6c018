"""What a reader returns: the parts of a source as they are, before labels are drawn."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.dataset import ImageDataset, SkippedImage
from fewlabels.data.rows import ImageRows
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import enumeration

# What programs write for a value that is missing.
_MISSING_WORDS = ("nan", "none", "<na>", "na", "n/a", "null")
PART_NAMES = ("train", "unlabeled", "validation", "test")
# What folders, and arrays in a file, may be called.
PART_ALIASES = {
    "train": ("train", "training", "labeled", "labelled"),
    "unlabeled": ("unlabeled", "unlabelled", "pool"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Part:
    """Images with their labels (-1: none) and, where they are files or rows of a table, names."""

    images: ImageRows
    labels: NDArray[np.int64]
    names: tuple[str, ...] | None = None

    @property
    def classes(self) -> NDArray[np.int64]:
        """Indices of the classes that its images have, sorted."""
        return np.unique(self.labels[self.labels >= 0])

    def take(self, rows: NDArray[np.int64]) -> Part:
        """Return some of the part's rows."""
        names = None if self.names is None else tuple(self.names[row] for row in rows)
        return Part(self.images.take(rows), self.labels[rows], names)

    def relabeled(self, told: NDArray[np.int64]) -> Part:
        """Return the part with labels in place of its own, where there are some (-1: none)."""
        return replace(self, labels=np.where(told >= 0, told, self.labels))

    def joined(self, other: Part) -> Part:
        """Return these rows and then those of another part."""
        if not len(other.labels):
            return self
        if not len(self.labels):
            return other
        names = None if self.names is None else self.names + (other.names or ())
        return Part(self.images.joined(other.images), np.concatenate([self.labels, other.labels]), names)


@dataclass(frozen=True)
class Parts:
    """A source's parts; `train` may hold unlabeled rows, the others may be missing.

    `labeled_rows` are the rows of `train` that the source itself chooses to be the labeled ones; `backbone` is what
    made the features, where they are that rather than images, and `images_in` the folder of the images they are of.
    `folders_tell` says that classes are those of the folders in which the files lie, `labels_tell` that they are those
    of labels given by hand alone.
    """

    name: str
    class_names: tuple[str, ...]
    train: Part
    unlabeled: Part | None = None
    validation: Part | None = None
    test: Part | None = None
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = ()
    content_key: str = ""
    default_labels_per_class: int | None = None
    labeled_rows: NDArray[np.int64] | None = None
    backbone: dict[str, Any] | None = None
    images_in: str | None = None
    folders_tell: bool = False
    labels_tell: bool = False

    @classmethod
    def of(cls, found: Mapping[str, Part], **facts: Any) -> Self:
        """Return the parts that were found, by their names, with what else is known of the source."""
        return cls(
            train=found["train"],
            unlabeled=found.get("unlabeled"),
            validation=found.get("validation"),
            test=found.get("test"),
            **facts,
        )

    @property
    def present(self) -> dict[str, Part]:
        """The parts that are there, by their names."""
        parts = {"train": self.train, "unlabeled": self.unlabeled, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def to_learn_from(self) -> dict[str, Part]:
        """Those whose images may become labeled ones, by their names."""
        return {name: part for name, part in self.present.items() if name in ("train", "unlabeled")}


def without_gradient(values: Any) -> Any:
    """Return a PyTorch tensor as NumPy can read it, wherever it is and whatever it learns; anything else as it is.

    Examples
    --------
    >>> import torch
    >>> np.asarray(without_gradient(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)))
    array([1., 1.], dtype=float32)
    """
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    # NumPy has no such type.
    return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor


def as_array(X: Any, what: str = "X") -> NDArray[Any]:
    """Return samples as one array.

    Raises
    ------
    InputError
        If they are files, or of several shapes; the message says what to do.
    """
    refuse_no_array(X, what)
    refuse_masked(X, what)
    X = as_list(X, what)
    first = next(iter(X), None) if isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.ndim) else X
    if isinstance(first, str | bytes | os.PathLike):
        raise InputError(
            f"{what} holds {str(first)[:80]!r}, text or a path; fewlabels.load_dataset(folder) reads images from files"
        )
    try:
        return np.asarray(without_gradient(X))
    except ValueError as error:
        shapes = list(dict.fromkeys(np.shape(sample) for sample in X))
        if len(shapes) < 2:
            raise
        raise InputError(
            f"{what} holds samples of several shapes, {shapes[0]} and {shapes[1]}; bring them to one (of images "
            "fewlabels.load_dataset((X, y), image_size=32) does)"
        ) from error


def as_list(X: Any, what: str = "X") -> Any:
    """Return a list of what a column of objects holds, and of Pillow's images the pixels; anything else as it is.

    Raises
    ------
    InputError
        If an image has values of which no range is known.
    """
    if str(getattr(X, "dtype", "")) == "object" and getattr(X, "ndim", None) == 1:
        X = list(X)
    if not isinstance(X, list | tuple) or not X or not hasattr(X[0], "getbands"):
        return X
    # Not imported where there are none.
    from fewlabels.data.decode import UnreadableImage, pixels_of

    try:
        return pixels_of(X)
    except UnreadableImage as error:
        raise InputError(f"{what} holds an image with {error}") from error


def refuse_masked(X: Any, what: str) -> None:
    """Refuse samples of which values are masked: what lies under a mask would be learned from.

    Raises
    ------
    InputError
        With what to do instead.
    """
    if np.ma.is_masked(X):
        raise InputError(f"{what} has masked values; give others in their place, as by its method filled()")


def refuse_no_array(X: Any, what: str) -> None:
    """Refuse what holds samples and is no array of them.

    Raises
    ------
    InputError
        If it is an iterator, a whole data set, or a data set or loader of PyTorch.
    """
    if isinstance(X, Iterator):
        raise InputError(f"{what} is a {type(X).__name__}; give an array or a list of samples")
    if isinstance(X, ImageDataset):
        raise InputError(
            f"{what} is a whole data set; give a part of it: data.labeled with data.labels, data.pool or data.test"
        )
    # PyTorch is not imported to read data.
    if any(kind.__module__.startswith("torch.utils.data") for kind in type(X).__mro__):
        raise InputError(f"{what} is a {type(X).__name__} of PyTorch; give its samples as one array or tensor")


def as_labels(y: Any) -> NDArray[Any]:
    """Return labels as an array; those of a list as they are, since among text NumPy would make NaN the text "nan".

    Members of an Enum of texts become the texts.

    Examples
    --------
    >>> as_labels(np.ma.array([3, 5], mask=[False, True]))
    array([3, None], dtype=object)
    """
    if np.ma.is_masked(y):
        # As an array it would hold whatever lies under the mask.
        known: NDArray[Any] = np.ma.getdata(y).astype(object)
        known[np.ma.getmaskarray(y)] = None
        return known
    values = np.asarray(without_gradient(y))
    if values.dtype.kind in "SU" and not hasattr(y, "dtype"):
        values = np.asarray(y, dtype=object)
    elif values.dtype.kind == "T":
        # Text of any length, in which some may be missing.
        values = values.astype(object)
    if values.dtype.kind != "O":
        return values
    return np.asarray(np.frompyfunc(_plain_text, 1, 1)(values), dtype=object)


def _plain_text(value: Any) -> Any:
    """Return the text that a member of an Enum of texts is, which `str` calls by its own name; others as they are."""
    return str.__str__(value) if isinstance(value, str) else value


def is_missing(value: Any) -> bool:
    """Say whether a value is None or not a number, pandas' NA included.

    Examples
    --------
    >>> is_missing(None), is_missing(float("nan")), is_missing(-1)
    (True, True, False)
    """
    try:
        return value is None or bool(value != value)
    except TypeError:  # whether pandas' NA is equal to anything is neither true nor false
        return True


def is_no_label(value: Any) -> bool:
    """Say whether what stands in place of a label means that there is none: None, NaN, -1 and text without a sign.

    Examples
    --------
    >>> is_no_label(""), is_no_label(-1), is_no_label(0)
    (True, True, False)
    """
    return value.strip() in ("", "-1") if isinstance(value, str) else is_missing(value) or bool(value == -1)


def class_name(label: Any) -> str:
    """Return what a label calls its class; pandas turns whole numbers into floats where one is missing.

    Examples
    --------
    >>> class_name(3.0), class_name(3), class_name("cat")
    ('3', '3', 'cat')
    """
    return str(int(label) if isinstance(label, float) and label.is_integer() else _plain_text(label))


def notes_of_classes(names: Iterable[str]) -> list[str]:
    """Return notes of classes that are called as a missing label is elsewhere, and of those that differ in case alone.

    Examples
    --------
    >>> notes_of_classes(["cat", "Cat", "dog"])
    ['the classes cat and Cat differ in case alone; where they are one, call it by one name']
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.casefold(), []).append(name)
    notes = [
        f"there is a class {visible(name)!r}; where that is to mean that an image has no class, leave its label empty"
        for word in _MISSING_WORDS
        for name in alike.get(word, ())
    ]
    return notes + [
        f"the classes {enumeration([visible(name) for name in same])} differ in case alone; where they are one, call "
        "it by one name"
        for same in alike.values()
        if len(same) > 1
    ]


def spelled_once(names: Iterable[str]) -> tuple[str, ...]:
    r"""Return names in their order, without those that differ from an earlier one in composed letters alone.

    Examples
    --------
    >>> spelled_once(["caf\u00e9", "cafe", "cafe\u0301"])
    ('café', 'cafe')
    """
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(unicodedata.normalize("NFC", name), name)
    return tuple(found.values())


def class_indices(
    labels: list[str | None], class_names: tuple[str, ...] | None = None, where: str = ""
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return indices of named labels (None: -1) and the class names, sorted when not given.

    Names that differ in how their letters are composed alone are one class, in the first of the spellings.

    `where` tells in an error what has a class that is none of these.
    """
    found = sorted({label for label in labels if label is not None})
    names = spelled_once(found) if class_names is None else class_names
    position = {name: index for index, name in enumerate(names)}
    # macOS writes é as two signs, others as one.
    composed = {unicodedata.normalize("NFC", name): index for index, name in enumerate(names)}
    if len(composed) == len(names):
        position |= {name: composed[same] for name in found if (same := unicodedata.normalize("NFC", name)) in composed}
    strange = [name for name in found if name not in position]
    if strange:
        place = f" of {where}" if where else ""
        raise InputError(f"class {strange[0]!r}{place} is not among the training classes ({', '.join(names)})")
    return np.array([-1 if label is None else position[label] for label in labels], np.int64), names
