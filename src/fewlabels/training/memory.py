"""Memory that is used again in each step rather than asked from the system anew."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


@contextlib.contextmanager
def reused_memory() -> Iterator[None]:
    """Keep what a training step frees for the next step, and give it back in the end.

    By default glibc returns large blocks to the system as soon as they are freed. Every step of a training
    on the CPU allocates the same hundreds of megabytes, and the system zeroes and maps each page again, which
    took a fifth of the step (`docs/performance.md`). Elsewhere than on glibc this does nothing.

    Examples
    --------
    >>> with reused_memory():
    ...     pass
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_M_MMAP_THRESHOLD, _MOST)
        library.mallopt(_M_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        if library is not None:
            library.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):  # Windows has no library of that kind
        return None
