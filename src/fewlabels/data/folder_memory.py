"""A folder of images that was read before opens in milliseconds while nothing in it has changed.

Asking each of 60,000 files when it was last changed takes longer than all the rest. So the times of the folders
answer for what was added, removed, renamed or replaced, which changes them, and files are asked up to a limit: of
more than that, a random choice, which an image written anew in place may slip through once.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.listing import Listing, stamp_of
from fewlabels.storage.atomic import write_bytes
from fewlabels.storage.keys import key_of

_VERSION = 6
_ASKED = 10_000


@dataclass(frozen=True)
class FolderContent:
    """The image files of a folder in their order.

    Attributes
    ----------
    names : tuple of str
        Paths relative to the folder.
    stamps : ndarray of int64 of shape (files, 4)
        What `stamp_of` returned of each.
    parts : ndarray of int8
        Index into `PART_NAMES` of each file.
    labels : ndarray of int64
        Class of each, -1 for none.
    class_names : tuple of str
        Names of the classes.
    notes : tuple of str
        What lies there and is not read.
    """

    names: tuple[str, ...]
    stamps: NDArray[np.int64]
    parts: NDArray[np.int8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


class FolderMemory:
    """What is known of one folder from the last time.

    Parameters
    ----------
    cache : Path
        The cache folder.
    folder : Path
        The folder of images.
    image_size : int or None
        As it was asked for.
    labels_elsewhere : bool
        Whether it was read so that no class folder need have images.
    """

    def __init__(self, cache: Path, folder: Path, image_size: int | None, *, labels_elsewhere: bool = False) -> None:
        self._folder = str(folder.resolve())
        name = key_of([_VERSION, self._folder, image_size, *([True] if labels_elsewhere else [])])
        self._path = cache / "folders" / f"{name}.npz"

    def keep(self, content: FolderContent, listing: Listing, key: str) -> None:
        """Remember a folder's content and the cache entry that holds its pixels.

        A folder that was changed just before it was listed, or has a link that leads nowhere, is not remembered: it
        could change again unnoticed.
        """
        if not listing.is_settled:
            return
        with io.BytesIO() as buffer:
            np.savez(
                buffer,
                names=_pack(content.names),
                stamps=content.stamps,
                parts=content.parts,
                labels=content.labels,
                class_names=_pack(content.class_names),
                notes=_pack(content.notes),
                folders=_pack(tuple(listing.folders)),
                folder_stamps=np.array(list(listing.folders.values()), np.int64),
                key=_pack((key,)),
            )
            write_bytes(self._path, buffer.getvalue())

    def recall(self) -> tuple[FolderContent, str] | None:
        """Return content and cache entry where nothing seems to have changed since, else None."""
        try:
            with np.load(io.BytesIO(self._path.read_bytes()), allow_pickle=False) as stored:
                found: dict[str, NDArray[Any]] = {name: stored[name] for name in stored.files}
            if not _are_as_before(_unpack(found["folders"]), found["folder_stamps"]):
                return None
            content = FolderContent(
                _unpack(found["names"]),
                found["stamps"],
                found["parts"],
                found["labels"],
                _unpack(found["class_names"]),
                _unpack(found["notes"]),
            )
            if not self._has_files_as_before(content):
                return None
            return content, _unpack(found["key"])[0]
        except Exception:  # of a damaged file, the readers of NumPy and of zip archives may raise anything at all
            return None

    def _has_files_as_before(self, content: FolderContent) -> bool:
        count = len(content.names)
        numbers = np.arange(count)
        if count > _ASKED:
            # Another choice each time; nothing that is learned depends on it.
            numbers = np.random.default_rng().choice(count, _ASKED, replace=False)
        start = self._folder + os.sep
        return _are_as_before((start + content.names[number] for number in numbers.tolist()), content.stamps[numbers])


def _are_as_before(paths: Iterable[str], stamps: NDArray[np.int64]) -> bool:
    return all(stamp_of(os.stat(path)) == tuple(stamp) for path, stamp in zip(paths, stamps.tolist(), strict=True))


def _pack(texts: tuple[str, ...]) -> NDArray[np.uint8]:
    # No name of a file holds a zero byte.
    return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)


def _unpack(packed: NDArray[np.uint8]) -> tuple[str, ...]:
    return () if not len(packed) else tuple(packed.tobytes().decode("utf-8", "surrogateescape").split("\0"))
