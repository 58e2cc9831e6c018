"""What an `.npz` file says of itself, checked before its arrays take memory."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from fewlabels.storage.errors import InputError

# Of a header; NumPy's own limit.
_LONGEST_HEADER = 10_000


def check_npz(path: Path) -> None:
    """Refuse a file whose arrays are not as large as they say, hold objects, or do not fit into memory.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        With what is wrong.
    zipfile.BadZipFile, OSError, ValueError
        If it is no archive at all.
    """
    total = 0
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not an .npz archive")
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, dtype = _header(file)
                if dtype.hasobject:
                    raise InputError(f"{path}: {member.filename} holds Python objects, which are not read")
                size = math.prod(shape) * dtype.itemsize
                if file.tell() + size != member.file_size:
                    raise InputError(
                        f"{path}: {member.filename} says to be an array of {shape}, {size:,} bytes, and has "
                        f"{member.file_size - file.tell():,}; the file is damaged"
                    )
                total += size
    available = memory_available()
    if total > available:
        raise InputError(
            f"{path} needs {total / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are there; give its images as a "
            "folder or as Parquet files, which are read piece by piece"
        )


def memory_available() -> int:
    """Return how many bytes of memory can be had, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 62


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file, _LONGEST_HEADER)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file, _LONGEST_HEADER)
    return shape, dtype
