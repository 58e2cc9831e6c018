"""STL-10 in its official binary form: 5,000 labeled, 100,000 unlabeled and 8,000 test images of 96x96."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.archives import read_members
from fewlabels.data.cache import DEFAULT_SIZE
from fewlabels.data.packed import PackedImages, packed, resized
from fewlabels.data.parts import Part, Parts
from fewlabels.data.rows import ImageRows
from fewlabels.storage.errors import InputError

URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
MD5 = "91f7769df0f17e558f3565bffb0c7dfb"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
FOLDS = 10
_SIDE = 96
_IMAGE_BYTES = 3 * _SIDE * _SIDE
_CHUNK = 500
_IMAGE_FILES = {"train_X.bin": "train", "unlabeled_X.bin": "unlabeled", "test_X.bin": "test"}
_LABEL_FILES = {"train_y.bin": "train", "test_y.bin": "test"}


def read_stl10(
    source: Path, image_size: int | None, cache: Path, *, fold: int | None = None, progress: bool = False
) -> Parts:
    """Read the official archive, or the folder that it unpacks to.

    Pixels are stored column by column and labels from 1; both are turned into the usual order here.

    Parameters
    ----------
    source : Path
        `stl10_binary.tar.gz`, or a folder with its files.
    image_size : int or None
        Side in pixels; None: 32.
    cache : Path
        Cache folder.
    fold : int, optional
        One of the ten official draws of 1,000 labeled images; the other 4,000 join the pool.
    progress : bool
        Show a progress bar.
    """
    if fold is not None and not 0 <= fold < FOLDS:
        raise InputError(f"fold={fold} is not one of STL-10's ten folds, 0 to 9")
    size = DEFAULT_SIZE if image_size is None else image_size
    found = packed(source, f"stl10-{size}", cache, lambda sink: _read(source, size, sink), progress=progress)
    for name, part in _IMAGE_FILES.items():
        if part not in found.images:
            raise InputError(f"{source} holds no {name}; expected the files of stl10_binary.tar.gz")
    parts = {}
    for part, images in found.images.items():
        labels = found.arrays.get(f"{part}_labels", np.zeros(len(images), np.uint8)).astype(np.int64) - 1
        if len(labels) != len(images) or labels.max(initial=-1) >= len(CLASSES):
            raise InputError(f"{source}: the labels of the {part} part do not fit its {len(images)} images")
        parts[part] = Part(ImageRows(images), labels)
    note = () if size == _SIDE else (f"images of {_SIDE}x{_SIDE} were resized to {size}x{size}",)
    return Parts.of(
        parts,
        name="stl10",
        class_names=CLASSES,
        notes=note,
        content_key=found.key,
        labeled_rows=None if fold is None else _fold_rows(found, fold, len(parts["train"].labels), source),
    )


def _fold_rows(found: PackedImages, fold: int, count: int, source: Path) -> NDArray[np.int64]:
    if "folds" not in found.arrays:
        raise InputError(f"{source} holds no fold_indices.txt, which fold={fold} needs")
    rows = found.arrays["folds"][fold]
    rows = rows[rows >= 0]
    if not len(rows) or rows.max() >= count:
        raise InputError(f"{source}: fold {fold} names images that are not there")
    return np.sort(rows).astype(np.int64)


def _read(source: Path, size: int, sink: PackedImages) -> None:
    def wanted(name: str) -> bool:
        return name in _IMAGE_FILES or name in _LABEL_FILES or name == "fold_indices.txt"

    def read(name: str, file: IO[bytes], length: int) -> None:
        if name in _LABEL_FILES:
            sink.arrays[f"{_LABEL_FILES[name]}_labels"] = np.frombuffer(file.read(), np.uint8)
        elif name == "fold_indices.txt":
            sink.arrays["folds"] = _folds(file.read().decode("ascii", "replace"), source)
        else:
            if length % _IMAGE_BYTES:
                raise InputError(f"{source}: {name} has {length:,} bytes, no multiple of an image's {_IMAGE_BYTES:,}")
            sink.add(_IMAGE_FILES[name], (length // _IMAGE_BYTES, size, size, 3), _images(file, size))

    read_members(source, wanted, read)


def _images(file: IO[bytes], size: int) -> Iterator[NDArray[np.uint8]]:
    while content := file.read(_CHUNK * _IMAGE_BYTES):
        # Each channel is stored column by column: (n, channel, column, row).
        stored = np.frombuffer(content, np.uint8).reshape(-1, 3, _SIDE, _SIDE)
        yield resized(stored.transpose(0, 3, 2, 1), size)


def _folds(text: str, source: Path) -> NDArray[np.int64]:
    try:
        lines = [np.array(line.split(), np.int64) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"{source}: fold_indices.txt is not lists of numbers") from error
    longest = max((len(line) for line in lines), default=0)
    folds = np.full((FOLDS, longest), -1, np.int64)
    for index, line in enumerate(lines[:FOLDS]):
        folds[index, : len(line)] = line
    return folds
