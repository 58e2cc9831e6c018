"""A pool that fits neither memory nor disk: blocks of it are decoded when they are asked for, and few are kept."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data import workers
from fewlabels.data.dataset import SkippedImage
from fewlabels.data.room import remove_unused_blocks
from fewlabels.data.rows import ImageRows, chosen_rows, gathered
from fewlabels.data.shards import BLOCK_ROWS, Shards
from fewlabels.data.workers import in_parallel
from fewlabels.storage.atomic import located, write_json
from fewlabels.storage.errors import InputError
from fewlabels.storage.lock import FolderLock

_SLOTS = 64
# So many images of which none can be read are no accident: there is something wrong with the file.
_NO_ACCIDENT = 64
_GRAY = 128


class StreamedRows(ImageRows):
    """Images of a pool in shards, read where they are looked at; decoded ones take no more room than allowed.

    Blocks of images are decoded into files of a folder, and the one that was not looked at for the longest time makes
    room for the next. Whoever goes through the rows window by window (see `window`) decodes each block once.

    An image that cannot be read is counted in `skipped`, and another of its block stands in its row, or a gray one
    where a short block has no other: rows keep their numbers.

    Parameters
    ----------
    shards : Shards
        Where the images are.
    size : tuple of int
        Height and width to decode them to.
    gray : bool
        One channel, else three.
    cache : Path
        The cache folder; each process takes a folder of its own in it, and later ones go on with that.
    limit : int
        Bytes that decoded blocks may take on the disk.
    strict : bool
        Refuse the pool when an image cannot be read.
    rows : ndarray of int, optional
        Which of the rows, in this order; all when not given.

    Attributes
    ----------
    window : int
        How many blocks fit into half of the limit: those whose images are shuffled with each other.
    starts : ndarray of int
        Row that each block begins with, and the number of rows.

    Raises
    ------
    InputError
        If the limit has not room for two blocks.

    Examples
    --------
    >>> import io, tempfile
    >>> import fsspec, pyarrow.parquet
    >>> from PIL import Image
    >>> def encoded(value):
    ...     content = io.BytesIO()
    ...     Image.new("L", (8, 8), value).save(content, "PNG")
    ...     return content.getvalue()
    >>> table = pyarrow.table({"image": [encoded(value) for value in range(4)]})
    >>> with fsspec.open("memory://gray.parquet", "wb") as file:
    ...     pyarrow.parquet.write_table(table, file)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shards = Shards("memory://gray.parquet", Path(folder))
    ...     pool = StreamedRows(shards, (8, 8), gray=True, cache=Path(folder), limit=10_000)
    ...     pool.shape, pool[[3, 1]][:, 0, 0, 0].tolist()
    ((4, 8, 8, 1), [3, 1])
    """

    def __init__(
        self, shards: Shards, size: tuple[int, int], *, gray: bool, cache: Path, limit: int, strict: bool = False
    ) -> None:
        super().__init__(np.empty((0, *size, 1 if gray else 3), np.uint8))
        self.shards, self.strict, self.limit = shards, strict, limit
        self.starts = np.cumsum([0, *(block.count for block in shards.blocks)])
        self._key = hashlib.sha256(f"{shards.key} {size} {gray}".encode()).hexdigest()
        self._image_bytes = int(np.prod(self.array.shape[1:]))
        # A .npy file begins with a header.
        most = max(block.count for block in shards.blocks)
        largest = most * self._image_bytes + 128
        if limit < 2 * largest:
            # What is larger is a row group, of which no part can be read by itself.
            smaller = ", or smaller row groups in its Parquet files (row_group_size=1000)" if most > BLOCK_ROWS else ""
            raise InputError(
                f"a limit of {limit / 1e6:,.1f} MB has not room for two blocks of {shards.url}, of up to {most:,} "
                f"images; at least {2 * largest / 1e6:,.1f} MB are needed{smaller}"
            )
        # Half of what may be kept: the window before stays until the next is there.
        self.window = max(int(limit / 2 / largest), 1)
        shape = (*size, 1 if gray else 3)
        self.blocks = _Blocks(shards, shape, cache / "shards" / self._key, limit, strict)

    @property
    def content_key(self) -> str:  # type: ignore[override]
        """The same for the same images of the same pool at the same size."""
        if self.rows is None:
            return self._key
        return hashlib.sha256(self._key.encode() + np.ascontiguousarray(self.rows).tobytes()).hexdigest()

    @property
    def skipped(self) -> tuple[SkippedImage, ...]:
        """Images that could not be read, of the blocks that were looked at so far."""
        return tuple(self.blocks.skipped[key] for key in sorted(self.blocks.skipped))

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return a copy of one image or several."""
        chosen = np.asarray(chosen_rows(index, self.rows, len(self)))

        def here_first(number: int) -> tuple[bool, int]:
            # They could have to make room for the others.
            return number not in self.blocks.here, number

        return gathered(chosen, self.starts, self.array.shape[1:], self.blocks.read, here_first)

    def name(self, row: int) -> str:
        """Return what the image of a row is called."""
        row = int(row if self.rows is None else self.rows[row])
        block = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.shards.name(block, row - int(self.starts[block]))


class _Blocks:
    """Decoded blocks in a folder, the latest used last; threads take turns.

    A copy, in this process or another that it is sent to, has a folder of its own.
    """

    def __init__(self, shards: Shards, shape: tuple[int, ...], place: Path, limit: int, strict: bool) -> None:
        self._shards, self._shape, self._place, self._limit, self._strict = shards, shape, place, limit, strict
        self._turn = threading.Lock()
        self._decode = partial(workers.decode_all, size=(shape[0], shape[1]), gray=shape[2] == 1)
        self._folder, lock = _own_folder(place)
        weakref.finalize(self, lock.release)
        remove_unused_blocks(place.parent)
        self.skipped: dict[tuple[int, int], SkippedImage] = {}
        self.here: OrderedDict[int, NDArray[np.uint8] | None] = OrderedDict()
        self.decoded = 0
        for path in self._folder.glob("*.part"):
            path.unlink(missing_ok=True)
        for path in sorted(self._folder.glob("*.npy"), key=lambda path: path.stat().st_mtime_ns):
            # Only whole files have this name.
            if path.stem.isdigit() and int(path.stem) < len(self._shards.blocks):
                self.here[int(path.stem)] = None
        self._make_room(0)

    @property
    def size(self) -> int:
        """Bytes that the blocks take that are here."""
        return sum(self._bytes(number) for number in self.here)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Blocks, (self._shards, self._shape, self._place, self._limit, self._strict)

    def read(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of some images of a block, decoding it first where it is not here."""
        # Of two threads that ask for the same block, one would write it under the hands of the other; and a block whose
        # images are being copied must not make room for another's.
        with self._turn:
            return self._block(number)[rows]

    def _block(self, number: int) -> NDArray[np.uint8]:
        images = self.here.get(number)
        if images is None and number in self.here and self._recall(number):
            images = self._open(number)
        if images is None:
            self.here.pop(number, None)
            self._make_room(self._bytes(number))
            self._write(number)
            images = self._open(number)
            if images is None:
                raise InputError(f"the cache in {self._folder} cannot be read back; check the disk")
        self.here[number] = images
        self.here.move_to_end(number)
        return images

    def _bytes(self, number: int) -> int:
        return self._shards.blocks[number].count * int(np.prod(self._shape)) + 128

    def _make_room(self, size: int) -> None:
        while self.here and self.size + size > self._limit:
            oldest, _ = self.here.popitem(last=False)
            self._path(oldest).unlink(missing_ok=True)
            self._left_out(oldest).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.npy"

    def _left_out(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _recall(self, number: int) -> bool:
        """Take note of what was left out of a block that is here already; False where that is not known."""
        try:
            found = json.loads(self._left_out(number).read_text(encoding="utf-8"))
            reasons = {int(row): str(reason) for row, reason in found.items()}
        except (OSError, ValueError, AttributeError):
            return False
        for row, reason in reasons.items():
            self._skip(number, row, reason)
        return True

    def _skip(self, number: int, row: int, reason: str) -> None:
        found = SkippedImage(self._shards.name(number, row), reason)
        if self._strict:
            raise InputError(f"{found.path}: {found.reason} (without strict it is left out)")
        self.skipped[number, row] = found

    def _open(self, number: int) -> NDArray[np.uint8] | None:
        shape = (self._shards.blocks[number].count, *self._shape)
        try:
            images = np.load(self._path(number), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return images if images.shape == shape and images.dtype == np.uint8 else None

    def _write(self, number: int) -> None:
        shards, block = self._shards, self._shards.blocks[number]
        images = np.empty((block.count, *self._shape), np.uint8)
        good: list[int] = []
        reasons: dict[int, str] = {}
        row = 0
        for pixels in in_parallel(self._decode, shards.read(number), block.count):
            for result in pixels:
                if isinstance(result, str):
                    self._skip(number, row, result)
                    reasons[row] = result
                else:
                    images[row] = result
                    good.append(row)
                row += 1
        if row != block.count:
            raise InputError(f"{shards.name(number, 0)}: {row} images came of {block.count}; the file has changed")
        bad = np.setdiff1d(np.arange(block.count), good)
        if good:
            images[bad] = images[np.array(good)[np.searchsorted(good, bad) % len(good)]]
        elif len(bad) < _NO_ACCIDENT and len(shards.blocks) > 1:
            images[:] = _GRAY
        else:
            raise InputError(f"none of {block.count} images is readable; the first, {self.skipped[number, 0].path}")
        path, part = self._path(number), self._path(number).with_suffix(".part")
        # First, since the file of images is what says that a block is here.
        write_json(self._left_out(number), reasons)
        try:
            with part.open("wb") as file:
                np.lib.format.write_array(file, images, allow_pickle=False)
                file.flush()
                # A later process takes a file of this name for whole.
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise located(error, path, images.nbytes) from error
        self.decoded += 1


def _own_folder(folder: Path) -> tuple[Path, FolderLock]:
    """Return a folder that no other process works in: one that an earlier one has left, where there is one."""
    for slot in range(_SLOTS):
        place = folder / str(slot)
        try:
            return place, FolderLock(place)
        except InputError:
            continue
    raise InputError(f"{_SLOTS} processes work in {folder}; stop some, or give another cache folder")
