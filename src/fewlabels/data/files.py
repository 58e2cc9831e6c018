"""Image files from anywhere, some at a time: for what is to be classified rather than learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from fewlabels.data.dataset import SkippedImage
from fewlabels.data.listing import Listing
from fewlabels.data.workers import decode_all
from fewlabels.storage.errors import InputError
from fewlabels.storage.screen import new_bar

_CHUNK = 512


@dataclass(frozen=True)
class ImageChunk:
    """Some files.

    Attributes
    ----------
    paths : tuple of str
        Those that could be read.
    images : ndarray of shape (n, height, width, channels)
        uint8; of no rows where none could be read.
    skipped : tuple of SkippedImage
        The others.
    """

    paths: tuple[str, ...]
    images: NDArray[np.uint8]
    skipped: tuple[SkippedImage, ...]


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return files and all files in folders, in natural order, each once.

    Raises
    ------
    InputError
        If a path is missing, or there is no file.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {str(path)!r}")
    files = [
        file
        for path in paths
        for file in ([Path(found.path) for found in Listing().files_below(path)] if path.is_dir() else [path])
    ]
    if not files:
        raise InputError(f"{', '.join(map(str, paths))} holds no files")
    # One may be given by itself and with its folder.
    return list(dict.fromkeys(files))


def image_chunks(
    files: Sequence[Path], shape: tuple[int, ...], *, strict: bool = False, progress: bool = False
) -> Iterator[ImageChunk]:
    """Yield the images of files in order, a few hundred at a time.

    Parameters
    ----------
    files : sequence of Path
        See `files_in`.
    shape : tuple of int
        Height, width and channels (1: gray) that they are to have.
    strict : bool
        Refuse unreadable files rather than leave them out.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InputError
        If no file is readable; with `strict`, if one is not.
    """
    height, width, channels = shape

    def read(file: Path) -> NDArray[np.uint8] | str:
        return decode_all([file], size=(height, width), gray=channels == 1)[0]

    any_read, first = False, None
    with ThreadPoolExecutor() as threads, new_bar(*Progress.get_default_columns(), shown=progress) as bar:
        task = bar.add_task("classifying", total=len(files))
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            kept: list[str] = []
            good: list[NDArray[np.uint8]] = []
            skipped: list[SkippedImage] = []
            try:
                results = threads.map(read, chunk)
            except RuntimeError:  # no thread can be made
                results = map(read, chunk)
            for file, result in zip(chunk, results, strict=True):
                if not isinstance(result, str):
                    kept.append(str(file))
                    good.append(result)
                elif strict:
                    raise InputError(f"{file}: {result}")
                else:
                    skipped.append(SkippedImage(str(file), result))
            first = first or (skipped[0] if skipped else None)
            any_read = any_read or bool(good)
            images = np.stack(good) if good else np.empty((0, height, width, channels), np.uint8)
            yield ImageChunk(tuple(kept), images, tuple(skipped))
            bar.advance(task, len(chunk))
    if not any_read and first is not None:
        archives = "; archives are read as a stream: give them to `label --engine local`"
        raise InputError(
            f"none of {len(files)} files is a readable image; the first, {first.path}: {first.reason}"
            + (archives if first.path.lower().endswith(".tar") else "")
        )
