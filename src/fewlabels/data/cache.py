"""Decode and resize once, into a memory-mapped file that opens in milliseconds ever after."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data import workers
from fewlabels.data.dataset import SkippedImage
from fewlabels.data.decode import Header
from fewlabels.data.room import hold, make_room
from fewlabels.data.workers import Encoded, Unreached, in_parallel
from fewlabels.storage.atomic import atomic_folder, write_json
from fewlabels.storage.errors import InputError
from fewlabels.storage.keys import key_of
from fewlabels.storage.mapped import new_mapped_array
from fewlabels.storage.screen import new_counting_bar

FORMAT_VERSION = 4
# Of what the same files are known by, also to features and comparisons that were made of them: it stays where an entry
# alone takes another form.
_KEY_VERSION = 3
LARGEST_NATIVE = 64
DEFAULT_SIZE = 32
# Where no pixel of a source reaches this, white is hardly what its images take for white.
_DARK = 32


@dataclass(frozen=True)
class EncodedImages:
    """Image files, or their bytes, of one source in a fixed order.

    Attributes
    ----------
    manifest : list
        What identifies the source without reading it (paths, and what `stamp_of` returns of each); plain JSON.
    items : callable
        Returns an iterator of paths or bytes.
    name : callable
        Maps the number of an image to what it is called in messages.
    count : int
        Number of images.
    """

    manifest: list[Any]
    items: Callable[[], Iterator[Encoded]]
    name: Callable[[int], str]
    count: int


@dataclass(frozen=True)
class DecodedImages:
    """Images of one size, memory-mapped, and what became of each file.

    Attributes
    ----------
    images : ndarray of shape (kept, height, width, channels)
        uint8, memory-mapped.
    kept : ndarray of int
        Number of the file of each image.
    skipped : tuple of SkippedImage
        Files that are unreadable.
    notes : tuple of str
        What was done to the images that a reader may want to know.
    key : str
        Name of the cache's entry: the same content gives the same key.
    is_settled : bool
        Whether each file was read, so that they need not be looked at again as long as they do not change.
    """

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    skipped: tuple[SkippedImage, ...]
    notes: tuple[str, ...]
    key: str
    is_settled: bool = True


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
    memo = folder / "manifests" / f"{key_of([FORMAT_VERSION, image_size, encoded.manifest])}.json"
    key = _read_memo(memo)
    found = None if key is None else reopen(folder, key, encoded.name)
    if found is None:
        key, is_settled = _build(encoded, image_size, folder, progress)
        found = reopen(folder, key, encoded.name)
        if found is None:
            raise InputError(f"the cache in {folder} cannot be read back; check the disk, or set FEWLABELS_CACHE")
        if is_settled:
            # In a cache that can only be read there may be the images all the same, by another name.
            with contextlib.suppress(OSError):
                write_json(memo, {"key": key})
        found = replace(found, is_settled=is_settled)
    if strict:
        refuse_skipped(found.skipped)
    if not len(found.images):
        raise _none_readable(encoded.count, found.skipped[0])
    return found


def refuse_skipped(skipped: tuple[SkippedImage, ...]) -> None:
    """Refuse a source some of whose images are unreadable.

    Raises
    ------
    InputError
        If there are any.
    """
    if skipped:
        first = skipped[0]
        raise InputError(
            f"{first.path}: {first.reason} ({len(skipped)} unreadable in all; without --strict they are left out)"
        )


def _none_readable(count: int, first: SkippedImage) -> InputError:
    return InputError(f"none of {count} files is a readable image; the first, {first.path}: {first.reason}")


def _build(encoded: EncodedImages, image_size: int | None, folder: Path, progress: bool) -> tuple[str, bool]:
    """Decode what is not in the cache yet, and return the key of its entry and whether all files could be read."""
    with new_counting_bar(shown=progress) as bar:
        task = bar.add_task("looking at images", total=encoded.count)
        headers: list[Header | str] = []
        content = hashlib.sha256()
        for found in in_parallel(workers.look, encoded.items(), encoded.count):
            for digest, header in found:
                # As long as any other: what has no digest must still say where in the order it stands.
                content.update(digest or bytes(content.digest_size))
                headers.append(header)
            bar.advance(task, len(found))
        skipped = {row: header for row, header in enumerate(headers) if isinstance(header, str)}
        is_settled = not any(isinstance(reason, Unreached) for reason in skipped.values())
        good = [header for header in headers if isinstance(header, Header)]
        if not good:
            raise _none_readable(encoded.count, SkippedImage(encoded.name(0), skipped[0]))
        key = key_of([_KEY_VERSION, image_size, encoded.count, content.hexdigest()])
        if reopen(folder, key, encoded.name) is not None:
            return key, is_settled
        size, notes = _choose_size(good, image_size)
        gray = all(header.gray for header in good)
        channels = 1 if gray else 3
        make_room(folder, len(good) * size[0] * size[1] * channels)
        with atomic_folder(folder / "images" / key) as temporary:
            # The header pass has counted, so the array is laid out on disk once and filled in place.
            images = new_mapped_array(temporary / "images.npy", (len(good), *size, channels))
            bar.reset(task, description="decoding images", total=encoded.count)
            kept: list[int] = []
            position = brightest = 0
            turn = partial(workers.decode_all, size=size, gray=gray)
            for pixels in in_parallel(turn, encoded.items(), encoded.count):
                for result in pixels:
                    if position in skipped:
                        pass
                    elif isinstance(result, Unreached):
                        # It would be missing whenever this content comes again.
                        raise InputError(f"{encoded.name(position)}: {result}; it could be read just now, so try again")
                    elif isinstance(result, str):
                        skipped[position] = result
                    else:
                        images[len(kept)] = result
                        kept.append(position)
                        if brightest < _DARK:
                            brightest = max(brightest, int(result.max()))
                    position += 1
                bar.advance(task, len(pixels))
            images.flush()
            del images
            np.save(temporary / "kept.npy", np.array(kept, np.int64))
            if brightest < _DARK and kept:
                notes.append(
                    f"images are very dark, no pixel is above {brightest} of 255: scale values that do not fill their "
                    "format, as those of a camera with 12 bits in 16"
                )
            write_json(
                temporary / "entry.json",
                {
                    "format_version": FORMAT_VERSION,
                    "shape": [len(kept), *size, channels],
                    "skipped": [[row, skipped[row]] for row in sorted(skipped)],
                    "notes": notes,
                },
            )
    return key, is_settled


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


def reopen(folder: Path, key: str, name: Callable[[int], str]) -> DecodedImages | None:
    """Return an entry of the cache, or None where it is missing or damaged.

    Parameters
    ----------
    folder : Path
        The cache folder.
    key : str
        The entry's.
    name : callable
        See `EncodedImages`.
    """
    entry = folder / "images" / key
    try:
        facts = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        kept = np.load(entry / "kept.npy", allow_pickle=False)
        count = facts["shape"][0]
        if facts["format_version"] != FORMAT_VERSION or len(kept) != count or len(images) < count:
            return None
        skipped = tuple(SkippedImage(name(row), reason) for row, reason in facts["skipped"])
        hold(entry, images)
        return DecodedImages(images[:count], kept, skipped, tuple(facts["notes"]), key)
    except Exception:  # of a damaged file, NumPy's reader may raise anything at all
        return None


def _read_memo(memo: Path) -> str | None:
    try:
        return str(json.loads(memo.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
