"""Archives that hold pixels rather than image files, turned into memory-mapped arrays once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewlabels.data.listing import stamp_of
from fewlabels.data.room import hold, make_room
from fewlabels.storage.atomic import atomic_folder, write_json
from fewlabels.storage.errors import InputError
from fewlabels.storage.keys import key_of
from fewlabels.storage.mapped import new_mapped_array
from fewlabels.storage.screen import new_console, shows_progress

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
        The same content gives the same key, wherever the archive lies and whenever it was written.
    """

    def __init__(self, folder: Path, key: str = "") -> None:
        self.folder, self.key = folder, key
        self.images: dict[str, NDArray[np.uint8]] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        self._digests: dict[str, str] = {}

    def add(self, part: str, shape: tuple[int, ...], chunks: Iterator[NDArray[np.uint8]]) -> None:
        """Write images of a part as they come."""
        path = self.folder / f"{part}.images.npy"
        images = new_mapped_array(path, shape)
        digest = hashlib.sha256(repr(shape).encode())
        row = 0
        for chunk in chunks:
            images[row : row + len(chunk)] = chunk
            digest.update(np.ascontiguousarray(chunk).data)
            row += len(chunk)
        if row != shape[0]:
            raise InputError(f"the {part} part ends after {row} of {shape[0]} images; the archive is truncated")
        images.flush()
        self._digests[part] = digest.hexdigest()

    def close(self) -> None:
        """Write the small arrays, and what tells that all is there."""
        np.savez(self.folder / "arrays.npz", **self.arrays)  # type: ignore[arg-type]
        small = [
            [name, array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
            for name, array in sorted(self.arrays.items())
        ]
        self.key = key_of([sorted(self._digests.items()), small])
        entry = {"format_version": _FORMAT_VERSION, "content": self.key, "parts": sorted(self._digests)}
        write_json(self.folder / "entry.json", entry)


def packed(
    source: Path, kind: str, cache: Path, read: Callable[[PackedImages], None], *, progress: bool = False
) -> PackedImages:
    """Return an archive's arrays from the cache, reading it into the cache first where need be.

    Parameters
    ----------
    source : Path
        An archive or a folder.
    kind : str
        Part of the entry's name: the format and the image size.
    cache : Path
        Cache folder.
    read : callable
        Fills a `PackedImages`.
    progress : bool
        Say what is going on.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    # Without the number on the disk, which some network file systems make up anew each time: an entry is large.
    facts = [[str(path.resolve()), *stamp_of(path.stat())[:3]] for path in files]
    entry = cache / "archives" / key_of([_FORMAT_VERSION, kind, facts])
    found = _open(entry)
    if found is None:
        make_room(cache)
        console = new_console()
        console.quiet = not (progress and shows_progress(console))
        with console.status(f"reading {source.name} once …"), atomic_folder(entry) as temporary:
            sink = PackedImages(temporary)
            read(sink)
            sink.close()
        found = _open(entry)
    if found is None:
        raise InputError(f"the cache in {cache} cannot be read back; check the disk, or set FEWLABELS_CACHE")
    return found


def resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return square color images, (n, side, side, 3), at another side; as they are where that is theirs."""
    if images.shape[1] == size:
        return np.ascontiguousarray(images)
    pictures = (Image.fromarray(np.ascontiguousarray(image)) for image in images)
    return np.stack([np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)) for picture in pictures])


def _open(entry: Path) -> PackedImages | None:
    try:
        facts = json.loads((entry / "entry.json").read_text())
        if facts["format_version"] != _FORMAT_VERSION:
            return None
        # Entries that were made before content was looked at have none, and are made anew in their place.
        found = PackedImages(entry, facts["content"])
        # From bytes: of a file that is no archive, NumPy leaves the file open.
        with np.load(io.BytesIO((entry / "arrays.npz").read_bytes()), allow_pickle=False) as arrays:
            found.arrays = {name: arrays[name] for name in arrays.files}
        for path in entry.glob("*.images.npy"):
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            hold(entry, images)
            found.images[path.name.removesuffix(".images.npy")] = images
        # Entries that were made before parts were written down do not have them.
        if not found.images.keys() >= set(facts.get("parts", ())):
            return None
    except Exception:  # of a damaged file, the readers of NumPy and of zip archives may raise anything at all
        return None
    return found
