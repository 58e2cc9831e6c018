"""Archives that hold pixels rather than image files, turned into memory-mapped arrays once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.storage.atomic import atomic_folder, write_json
from fewlabels.storage.errors import InputError
from fewlabels.storage.mapped import new_mapped_array
from fewlabels.storage.screen import new_console

_FORMAT_VERSION = 1


class PackedImages:
    """Arrays of one archive, written to a folder as they are read.

    Attributes
    ----------
    images : dict of str to ndarray
        uint8 images of each part, memory-mapped.
    arrays : dict of str to ndarray
        Small arrays: labels, folds.
    key : str
        Cache key.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.images: dict[str, NDArray[np.uint8]] = {}
        self.arrays: dict[str, NDArray[Any]] = {}

    def add(self, part: str, shape: tuple[int, ...], chunks: Iterator[NDArray[np.uint8]]) -> None:
        """Write images of a part as they come; what was there of it is continued."""
        path = self.folder / f"{part}.images.npy"
        images = new_mapped_array(path, shape)
        row = 0
        for chunk in chunks:
            images[row : row + len(chunk)] = chunk
            row += len(chunk)
        if row != shape[0]:
            raise InputError(f"the {part} part ends after {row} of {shape[0]} images; the archive is truncated")
        images.flush()


def packed(
    source: Path, kind: str, cache: Path, read: Callable[[PackedImages], None], *, progress: bool = False
) -> PackedImages:
    """Return an archive's arrays from the cache, reading it into the cache first where need be.

    Parameters
    ----------
    source : Path
        An archive or a folder.
    kind : str
        Part of the key: the format and the image size.
    cache : Path
        Cache folder.
    read : callable
        Fills a `PackedImages`.
    progress : bool
        Say what is going on.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    facts = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    key = hashlib.sha256(json.dumps([_FORMAT_VERSION, kind, facts]).encode()).hexdigest()
    entry = cache / "archives" / key
    found = _open(entry, key)
    if found is None:
        console = new_console(quiet=not progress)
        with console.status(f"reading {source.name} once …"), atomic_folder(entry) as temporary:
            sink = PackedImages(temporary, key)
            read(sink)
            np.savez(temporary / "arrays.npz", **sink.arrays)  # type: ignore[arg-type]
            write_json(temporary / "entry.json", {"format_version": _FORMAT_VERSION})
        found = _open(entry, key)
    if found is None:
        raise InputError(f"the cache in {cache} cannot be read back; check the disk, or set FEWLABELS_CACHE")
    return found


def _open(entry: Path, key: str) -> PackedImages | None:
    try:
        if json.loads((entry / "entry.json").read_text())["format_version"] != _FORMAT_VERSION:
            return None
        found = PackedImages(entry, key)
        with np.load(entry / "arrays.npz", allow_pickle=False) as arrays:
            found.arrays = {name: arrays[name] for name in arrays.files}
        for path in entry.glob("*.images.npy"):
            found.images[path.name.removesuffix(".images.npy")] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return found
