"""A folder of images: `train|labeled/CLASS/…`, `unlabeled/…`, `validation/CLASS/…`, `test/CLASS/…`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fewlabels.data.cache import Encoded, EncodedImages, decoded
from fewlabels.data.decode import natural_key
from fewlabels.data.parts import Part, Parts, class_indices
from fewlabels.data.rows import ImageRows
from fewlabels.storage.errors import InputError

_ALIASES = {
    "train": ("train", "training", "labeled", "labelled"),
    "unlabeled": ("unlabeled", "unlabelled", "pool"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
_CLUTTER = {"thumbs.db", "desktop.ini"}


def read_folder(
    folder: Path, image_size: int | None, cache: Path, *, strict: bool = False, progress: bool = False
) -> Parts:
    """Read a folder of images.

    Class folders may also lie directly in `folder`; then they are the training part.

    Raises
    ------
    InputError
        If there are no class folders, a class is empty, or images lie where a class folder should be.
    """
    files: list[tuple[str, str | None, Path]] = []
    folders = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    places = {
        part: next((folders[alias] for alias in aliases if alias in folders), None)
        for part, aliases in _ALIASES.items()
    }
    if places["train"] is None:
        places["train"] = folder
    for part, place in places.items():
        if place is None:
            continue
        if part == "unlabeled":
            files += [(part, None, path) for path in files_below(place)]
            continue
        taken = {path for path in places.values() if path is not None and path != place}
        files += _class_files(part, place, taken)
    files_by_part = {part: [entry for entry in files if entry[0] == part] for part in _ALIASES}
    if not files_by_part["train"]:
        raise InputError(
            f"{folder} holds no class folders with images; expected {folder.name}/train/CLASS/ or {folder.name}/CLASS/"
        )
    ordered = [entry for part in _ALIASES for entry in files_by_part[part]]
    images = decoded(
        _encoded([path for _, _, path in ordered], folder),
        image_size,
        cache,
        strict=strict,
        progress=progress,
    )
    kept = [ordered[position] for position in images.kept]
    _, class_names = class_indices([name for part, name, _ in kept if part == "train"])
    for name in sorted({entry[1] for entry in files_by_part["train"] if entry[1] is not None}):
        if name not in class_names:
            raise InputError(f"class {name!r} has no readable image; add some or remove its folder")
    parts: dict[str, Part] = {}
    for part in _ALIASES:
        rows = np.array([row for row, entry in enumerate(kept) if entry[0] == part], np.int64)
        if not len(rows):
            continue
        labels, _ = class_indices([kept[row][1] for row in rows], class_names)
        names = tuple(str(kept[row][2].relative_to(folder)) for row in rows)
        parts[part] = Part(ImageRows(images.images, rows), labels, names)
    return Parts(
        name=folder.resolve().name,
        class_names=class_names,
        skipped=images.skipped,
        notes=images.notes,
        content_key=images.key,
        train=parts["train"],
        unlabeled=parts.get("unlabeled"),
        validation=parts.get("validation"),
        test=parts.get("test"),
    )


def _class_files(part: str, place: Path, taken: set[Path]) -> list[tuple[str, str | None, Path]]:
    found: list[tuple[str, str | None, Path]] = []
    loose = 0
    for path in sorted(place.iterdir(), key=lambda path: natural_key(path.name)):
        if path in taken or path.name.startswith("."):
            continue
        if path.is_file():
            loose += path.suffix.lower() in (
                ".jpg",
                ".jpeg",
                ".png",
                ".gif",
                ".bmp",
                ".webp",
                ".tif",
                ".tiff",
            )
            continue
        below = list(files_below(path))
        if not below:
            raise InputError(f"class folder {path} is empty; add images or remove it")
        found += [(part, path.name, file) for file in below]
    if loose and not found:
        raise InputError(
            f"{place} holds {loose} images but no class folders; put each image into a folder named after its class, "
            "and those without a label into unlabeled/"
        )
    return found


def files_below(place: Path) -> Iterator[Path]:
    """Yield files in natural order, following links to files but not to folders, which could go in circles."""
    for where, folders, names in os.walk(place, followlinks=False):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
        for name in sorted(names, key=natural_key):
            path = Path(where, name)
            if not name.startswith(".") and name.lower() not in _CLUTTER and path.is_file():
                yield path


def _encoded(paths: list[Path], folder: Path) -> EncodedImages:
    manifest = []
    for path in paths:
        facts = path.stat()
        manifest.append([str(path.relative_to(folder)), facts.st_size, facts.st_mtime_ns])

    def digest() -> str:
        total = hashlib.sha256()
        for path in paths:
            with path.open("rb") as file:
                total.update(str(path.relative_to(folder)).encode("utf-8", "surrogateescape") + b"\0")
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def items() -> Iterator[Encoded]:
        return ((str(path), path) for path in paths)

    return EncodedImages([str(folder.resolve()), manifest], digest, items, len(paths))
