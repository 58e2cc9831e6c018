"""Decode and resize once, into a memory-mapped file that opens in milliseconds ever after."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fewlabels.data.dataset import SkippedImage
from fewlabels.data.decode import Header, UnreadableImage, decode, read_header
from fewlabels.storage.atomic import atomic_folder, write_json
from fewlabels.storage.errors import InputError

FORMAT_VERSION = 1
LARGEST_NATIVE = 64
DEFAULT_SIZE = 32
_CHUNK = 256

Encoded = tuple[str, Path | bytes]


@dataclass(frozen=True)
class EncodedImages:
    """Image files, or their bytes, of one source in a fixed order.

    Attributes
    ----------
    manifest : list
        What identifies the source without reading it (paths, sizes, modification times); plain JSON.
    digest : callable
        Returns the SHA-256 of the content.
    items : callable
        Returns an iterator of (name, path or bytes).
    count : int
        Number of images.
    """

    manifest: list[Any]
    digest: Callable[[], str]
    items: Callable[[], Iterator[Encoded]]
    count: int


@dataclass(frozen=True)
class DecodedImages:
    """Images of one size, memory-mapped, and what became of each file."""

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    skipped: tuple[SkippedImage, ...]
    notes: tuple[str, ...]
    key: str


def decoded(
    encoded: EncodedImages,
    image_size: int | None,
    folder: Path,
    *,
    strict: bool = False,
    progress: bool = False,
) -> DecodedImages:
    """Return the images in one size, from the cache where they are there already.

    Parameters
    ----------
    encoded : EncodedImages
        The source's images.
    image_size : int or None
        Side in pixels; None: their own if all are square, equal and at most 64, else 32.
    folder : Path
        The cache folder.
    strict : bool
        Refuse the source when an image is unreadable, rather than leave it out.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InputError
        If no image is readable, or `strict` and one is not.
    """
    memo = folder / "manifests" / f"{_hash([FORMAT_VERSION, image_size, encoded.manifest])}.json"
    key = _read_memo(memo)
    if key is None:
        key = _hash([FORMAT_VERSION, image_size, encoded.digest()])
    found = _open(folder / "images" / key, key)
    if found is None:
        _build(encoded, image_size, folder / "images" / key, progress)
        found = _open(folder / "images" / key, key)
        if found is None:
            raise InputError(f"the cache in {folder} cannot be read back; check the disk, or set FEWLABELS_CACHE")
    if _read_memo(memo) != key:
        write_json(memo, {"key": key})
    if strict and found.skipped:
        first = found.skipped[0]
        raise InputError(
            f"{first.path}: {first.reason} ({len(found.skipped)} unreadable in all; without --strict they are left out)"
        )
    if not len(found.images):
        raise _none_readable(encoded.count, found.skipped[0])
    return found


def _none_readable(count: int, first: SkippedImage) -> InputError:
    return InputError(f"none of {count} files is a readable image; the first, {first.path}: {first.reason}")


def _build(encoded: EncodedImages, image_size: int | None, target: Path, progress: bool) -> None:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        disable=not progress,
    )
    with bar, ThreadPoolExecutor(os.cpu_count()) as threads:
        task = bar.add_task("looking at images", total=encoded.count)
        headers: list[Header | None] = []
        skipped: dict[int, SkippedImage] = {}
        for names, results in _in_chunks(encoded, threads, _try_header):
            for name, result in zip(names, results, strict=True):
                if isinstance(result, str):
                    skipped[len(headers)] = SkippedImage(name, result)
                    headers.append(None)
                else:
                    headers.append(result)
            bar.advance(task, len(names))
        good = [header for header in headers if header is not None]
        if not good:
            raise _none_readable(encoded.count, skipped[0])
        size, notes = _choose_size(good, image_size)
        gray = all(header.gray for header in good)
        channels = 1 if gray else 3
        with atomic_folder(target) as temporary:
            # The header pass has counted, so the array is laid out on disk once and filled in place.
            images = np.lib.format.open_memmap(
                temporary / "images.npy", mode="w+", dtype=np.uint8, shape=(len(good), *size, channels)
            )
            bar.reset(task, description="decoding images", total=encoded.count)
            kept: list[int] = []
            position = 0

            def turn(item: Encoded) -> NDArray[np.uint8] | str:
                try:
                    return decode(item[1], size, gray=gray)
                except UnreadableImage as error:
                    return str(error)

            for names, pixels in _in_chunks(encoded, threads, turn):
                for name, result in zip(names, pixels, strict=True):
                    if position in skipped:
                        pass
                    elif isinstance(result, str):
                        skipped[position] = SkippedImage(name, result)
                    else:
                        images[len(kept)] = result
                        kept.append(position)
                    position += 1
                bar.advance(task, len(names))
            images.flush()
            del images
            np.save(temporary / "kept.npy", np.array(kept, np.int64))
            write_json(
                temporary / "entry.json",
                {
                    "format_version": FORMAT_VERSION,
                    "shape": [len(kept), *size, channels],
                    "skipped": [[skipped[i].path, skipped[i].reason] for i in sorted(skipped)],
                    "notes": notes,
                },
            )


def _in_chunks(
    encoded: EncodedImages, threads: ThreadPoolExecutor, turn: Callable[[Encoded], Any]
) -> Iterator[tuple[list[str], list[Any]]]:
    chunk: list[Encoded] = []
    for item in encoded.items():
        chunk.append(item)
        if len(chunk) == _CHUNK:
            yield [name for name, _ in chunk], list(threads.map(turn, chunk))
            chunk = []
    if chunk:
        yield [name for name, _ in chunk], list(threads.map(turn, chunk))


def _try_header(item: Encoded) -> Header | str:
    try:
        return read_header(item[1])
    except (UnreadableImage, OSError) as error:
        return str(error)


def _choose_size(headers: list[Header], image_size: int | None) -> tuple[tuple[int, int], list[str]]:
    sizes = {(header.height, header.width) for header in headers}
    if image_size is None:
        only = next(iter(sizes)) if len(sizes) == 1 else None
        image_size = only[0] if only and only[0] == only[1] <= LARGEST_NATIVE else DEFAULT_SIZE
    target = (image_size, image_size)
    if not sizes or sizes == {target}:
        return target, []
    what = f"images of {len(sizes):,} sizes" if len(sizes) > 1 else "images of {}x{}".format(*next(iter(sizes)))
    crop = ", the long side cropped at its center" if any(h != w for h, w in sizes) else ""
    return target, [f"{what} were resized to {image_size}x{image_size}{crop}"]


def _open(entry: Path, key: str) -> DecodedImages | None:
    try:
        facts = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        kept = np.load(entry / "kept.npy", allow_pickle=False)
        count = facts["shape"][0]
        if facts["format_version"] != FORMAT_VERSION or len(kept) != count or len(images) < count:
            return None
        skipped = tuple(SkippedImage(path, reason) for path, reason in facts["skipped"])
        return DecodedImages(images[:count], kept, skipped, tuple(facts["notes"]), key)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None  # missing or damaged: built anew


def _read_memo(memo: Path) -> str | None:
    try:
        return str(json.loads(memo.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()
