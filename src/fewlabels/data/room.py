"""Room in the cache: what was not used for the longest time makes room for the next, and what is open stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import weakref
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray

from fewlabels.storage.atomic import ABANDONED, remove_leftovers
from fewlabels.storage.errors import InputError
from fewlabels.storage.lock import LOCK_NAME, FileLock

# Bytes that decoded images and read archives may take.
LIMIT = 50_000_000_000
# Seconds in which what was used may be used again.
_JUST_USED = 3600.0


def hold(entry: Path, images: NDArray[Any]) -> None:
    """Have an entry of the cache stay, for this process and all others, as long as an array of its images is there.

    Parameters
    ----------
    entry : Path
        Its folder; when this was last changed tells when it was last used.
    images : ndarray
        Memory-mapped.
    """
    # In a cache that can only be read nothing is removed either, and without locks only what was just used stays. Where
    # another process looks at the lock just as it is made, the entry has just been used.
    with contextlib.suppress(OSError, InputError):
        lock = FileLock(entry / f".{uuid4().hex}.open", quiet=True)
        weakref.finalize(images, _let_go, lock, os.getpid())


def _let_go(lock: FileLock, holder: int) -> None:
    # A process that was forked off has no say in what this one has open.
    if os.getpid() == holder:
        lock.release()


def make_room(cache: Path, size: int = 0) -> None:
    """Remove entries until the others and a new one keep within the limit, and what killed processes have left.

    Parameters
    ----------
    cache : Path
        The cache folder.
    size : int
        Bytes of the new entry.
    """
    used: dict[Path, float] = {}
    for kind in (cache / "images", cache / "archives"):
        remove_leftovers(kind, unused_s=ABANDONED)
        for entry in kind.glob("[!.]*"):
            # Another process may remove it just now.
            with contextlib.suppress(OSError):
                used[entry] = entry.stat().st_mtime
    sizes = {entry: _bytes(entry) for entry in used}
    total = size + sum(sizes.values())
    for entry in sorted(used, key=lambda entry: used[entry]):
        if total <= LIMIT:
            break
        if time.time() - used[entry] < _JUST_USED or _is_open(entry):
            continue
        with contextlib.suppress(OSError):
            # In one step: who looks for it meanwhile finds all of it or nothing.
            gone = entry.rename(entry.with_name(f".{entry.name}.{uuid4().hex}.old"))
            shutil.rmtree(gone, ignore_errors=True)
            total -= sizes[entry]


def remove_unused_blocks(shards: Path) -> None:
    """Remove decoded blocks of pools in shards that no process has open and none has used for a day.

    A pool that has changed has other blocks, and nobody comes back for those of before.

    Parameters
    ----------
    shards : Path
        Folder of the pools' folders, in which each process has one of its own: see `fewlabels.data.StreamedRows`.
    """
    for place in shards.glob("*/*"):
        with contextlib.suppress(OSError, InputError):
            # It changes with each block, and when a process takes it or leaves it.
            if not place.is_dir() or time.time() - place.stat().st_mtime < ABANDONED:
                continue
            with FileLock(place / LOCK_NAME, quiet=True):
                for path in place.iterdir():
                    if path.name != LOCK_NAME:
                        path.unlink(missing_ok=True)
            place.rmdir()
            place.parent.rmdir()


def _bytes(entry: Path) -> int:
    found = 0
    for path in entry.glob("*"):
        with contextlib.suppress(OSError):
            found += path.stat().st_size
    return found


def _is_open(entry: Path) -> bool:
    for path in entry.glob(".*.open"):
        try:
            # That of a process that was killed is nobody's.
            FileLock(path, quiet=True).release()
        except (InputError, OSError):
            return True
    return False
