"""Images that are in memory already, or in an `.npz` file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewlabels.data.npz import check_npz
from fewlabels.data.parts import (
    PART_ALIASES,
    PART_NAMES,
    Part,
    Parts,
    as_labels,
    as_list,
    class_indices,
    class_name,
    is_no_label,
)
from fewlabels.data.pixels import read_images
from fewlabels.data.rows import ImageRows
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import first_line


def read_arrays(source: Any, image_size: int | None, name: str = "arrays", *, labels_elsewhere: bool = False) -> Parts:
    """Read (X, y), or a mapping with keys train, unlabeled, validation and test.

    `X` is uint8 (n, H, W) or (n, H, W, C), or floats in [0, 1]; -1, None and NaN in `y` mean unlabeled. With
    `labels_elsewhere`, all may be.

    Raises
    ------
    InputError
        If shapes, types or ranges are others.
    """
    given = dict(source) if isinstance(source, Mapping) else {"train": source}
    unknown = set(given) - set(PART_NAMES)
    if unknown or "train" not in given:
        raise InputError(
            f"arrays need the key 'train' and may have {', '.join(PART_NAMES[1:])}; got {', '.join(map(str, given))}"
        )
    images: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, list[str | None]] = {}
    for part, value in given.items():
        pair = value if part != "unlabeled" else (_without_labels(value), None)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"{part} of {name} is not a pair (X, y)")
        images[part] = _images(pair[0], f"{part} of {name}", image_size)
        labels[part] = [None] * len(images[part]) if pair[1] is None else _labels(pair[1], f"{part} of {name}")
        if len(labels[part]) != len(images[part]):
            raise InputError(f"{part} of {name} has {len(images[part])} images but {len(labels[part])} labels")
    shapes = {part: value.shape[1:] for part, value in images.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"the parts of {name} have images of different shapes: {shapes}; give image_size to resize them"
        )
    order = _class_order(labels, labels_elsewhere=labels_elsewhere)
    made = {part: Part(ImageRows(images[part]), class_indices(labels[part], order)[0]) for part in images}
    return Parts.of(made, name=name, class_names=order)


def read_npz(path: Path, image_size: int | None, *, labels_elsewhere: bool = False) -> Parts:
    """Read an `.npz` file with X and y, or x_train, y_train, x_test, y_test and so on; nothing is unpickled.

    Parts are called as folders may be (`PART_ALIASES`); of what else is there, a note is taken.

    Raises
    ------
    InputError
        If it cannot be read, has no labeled images, or two arrays for the same.
    """
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as archive:
            keys = {key.lower(): key for key in archive.files}
            alike = next((key for key in archive.files if keys[key.lower()] != key), None)
            if alike is not None:
                _refuse_two(path, [alike, keys[alike.lower()]])
            values = {lower: archive[key] for lower, key in keys.items()}
    except InputError:
        raise
    except Exception as error:  # of a damaged file, its readers may raise anything at all
        holds_objects = "allow_pickle" in str(error)
        reason = "it holds Python objects, which are not read" if holds_objects else first_line(error)
        raise InputError(f"{path} cannot be read: {reason}") from error
    images = {part: _one_of(path, values, _keys("x", part)) for part in PART_NAMES}
    labels = {part: _one_of(path, values, _keys("y", part)) for part in PART_NAMES if part != "unlabeled"}
    if images["train"] is None or (labels["train"] is None and not labels_elsewhere):
        raise InputError(f"{path} has the keys {', '.join(keys.values())}; expected X and y, or x_train and y_train")
    source = {
        part: values[key] if part == "unlabeled" else (values[key], values.get(labels[part] or ""))
        for part, key in images.items()
        if key is not None
    }
    read = {*images.values(), *(label for part, label in labels.items() if images[part] is not None)}
    left = [visible(key) for lower, key in keys.items() if lower not in read]
    found = read_arrays(source, image_size, name=path.stem, labels_elsewhere=labels_elsewhere)
    if not left:
        return found
    return replace(found, notes=(f"not read: {', '.join(left)} (the arrays are x_train, y_train, x_unlabeled, …)",))


def _keys(letter: str, part: str) -> tuple[str, ...]:
    """Return what an array of a part may be called, in small letters."""
    names = PART_ALIASES[part]
    alone = {"train": (letter,), "unlabeled": names}.get(part, ())
    return (*alone, *(f"{letter}_{name}" for name in names))


def _one_of(path: Path, values: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    found = [key for key in keys if key in values]
    if len(found) > 1:
        _refuse_two(path, found)
    return found[0] if found else None


def _refuse_two(path: Path, names: list[str]) -> NoReturn:
    raise InputError(f"{path} has {' and '.join(names)}, which mean the same; leave one of them out")


def _without_labels(value: Any) -> Any:
    """Return the images of an unlabeled part that is given as a pair like the others."""
    is_pair = isinstance(value, tuple | list) and len(value) == 2 and np.ndim(value[0]) > np.ndim(value[1])
    return value[0] if is_pair else value


def _images(X: Any, what: str, image_size: int | None) -> NDArray[np.uint8]:
    X = as_list(X, what)
    if image_size is not None and isinstance(X, list | tuple) and len({np.shape(image) for image in X}) > 1:
        each = [_images([image], what, image_size) for image in X]
        # Where some are in color, gray ones are too.
        channels = max(image.shape[3] for image in each)
        return np.concatenate([np.broadcast_to(image, (*image.shape[:3], channels)) for image in each])
    # A copy, which stays as it is when the caller's array changes.
    pixels = np.array(read_images(X, what=what))
    if image_size is None or pixels.shape[1:3] == (image_size, image_size):
        return pixels
    resized = []
    for image in pixels:
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        scale = image_size / min(picture.size)
        larger = picture.resize(
            (max(image_size, round(picture.width * scale)), max(image_size, round(picture.height * scale))),
            Image.Resampling.BICUBIC,
        )
        left, upper = (larger.width - image_size) // 2, (larger.height - image_size) // 2
        resized.append(np.asarray(larger.crop((left, upper, left + image_size, upper + image_size))))
    return np.stack(resized).reshape(len(pixels), image_size, image_size, -1)


def _labels(y: Any, what: str) -> list[str | None]:
    values = as_labels(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(f"the labels of {what} have shape {values.shape}; expected one label for each image")
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        if not np.isfinite(known).all() or not np.array_equal(known, np.round(known)):
            raise InputError(f"the labels of {what} are not whole numbers; classes are whole numbers or strings")
        return [None if np.isnan(value) or value == -1 else str(int(value)) for value in values]
    return [None if is_no_label(value) else _class_name(value, what) for value in values.tolist()]


def _class_name(label: Any, what: str) -> str | None:
    """Return what a label calls its class."""
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
        return None if is_no_label(label) else label
    if isinstance(label, float) and not label.is_integer():
        raise InputError(f"the labels of {what} are not whole numbers; classes are whole numbers or strings")
    return class_name(label)


def _class_order(labels: dict[str, list[str | None]], *, labels_elsewhere: bool) -> tuple[str, ...]:
    names = {name for name in labels["train"] if name is not None}
    if not names and labels_elsewhere:
        names = {name for part in labels.values() for name in part if name is not None}
    if not names and not labels_elsewhere:
        raise InputError("no training image has a label; label a few of each class")
    if all(re.fullmatch("-?[0-9]+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
