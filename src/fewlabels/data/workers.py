"""Look at and decode image files on all cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray

from fewlabels.data.decode import Header, UnreadableImage, decode, read_file, read_header

Encoded = Path | bytes
Item = TypeVar("Item")
Result = TypeVar("Result")


class Unreached(str):
    """Why a file could not be read this time; another time it may be."""


# Small images spend most of their time in Python, which threads of one process cannot share; processes can, but
# take a second to start.
_WORTH_PROCESSES = 4000
_CHUNK = 64
_IDLE_SECONDS = 5


def in_parallel(
    work: Callable[[list[Item]], list[Result]], items: Iterable[Item], count: int
) -> Iterator[list[Result]]:
    """Yield the results of `work` on all items, some at a time and in their order.

    Parameters
    ----------
    work : callable
        Maps a list of items to a list of results; a function of a module, so that other processes find it.
    items : iterable
        What to work on.
    count : int
        How many there are.
    """
    source = iter(items)
    chunks = iter(lambda: list(islice(source, _CHUNK)), [])
    if count < _WORTH_PROCESSES:
        parallel = Parallel(n_jobs=cpu_count(), backend="threading", return_as="generator")
    else:
        parallel = Parallel(n_jobs=cpu_count(), return_as="generator", idle_worker_timeout=_IDLE_SECONDS)
    yield from parallel(delayed(work)(chunk) for chunk in chunks)


def look(chunk: list[Encoded]) -> list[tuple[bytes, Header | str]]:
    """Return of each image the SHA-256 of its bytes, and its header or what is wrong with it."""
    found: list[tuple[bytes, Header | str]] = []
    for item in chunk:
        digest = b""
        try:
            content = read_file(item) if isinstance(item, Path) else item
            digest = hashlib.sha256(content).digest()
            found.append((digest, read_header(content)))
        except UnreadableImage as error:
            found.append((digest, str(error)))
        except OSError as error:
            found.append((digest, Unreached(error)))
    return found


def decode_all(chunk: list[Encoded], *, size: tuple[int, int], gray: bool) -> list[NDArray[np.uint8] | str]:
    """Return each image in one size, or what is wrong with it."""
    found: list[NDArray[np.uint8] | str] = []
    for item in chunk:
        try:
            found.append(decode(item, size, gray=gray))
        except UnreadableImage as error:
            found.append(str(error))
        except OSError as error:
            found.append(Unreached(error))
    return found
