"""Arrays on disk, as memory: their room is taken before anything is written."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels.storage.atomic import located


def new_mapped_array(path: Path, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.memmap[Any, Any]:
    """Return a new `.npy` file as an array to be filled.

    A file of that name is replaced; whoever has it mapped keeps what it was. Nor has it holes: it would be made in no
    time, and a disk that is full when one of them is written to ends the process without an error that could be caught.

    Parameters
    ----------
    path : Path
        The file to make.
    shape : tuple of int
        Of the array.
    dtype : dtype
        Of its values.

    Raises
    ------
    OSError
        If there is no room for it; names the file and how much it needs.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     new_mapped_array(Path(folder) / "a.npy", (2, 3))[:] = 7
    ...     int(np.load(Path(folder) / "a.npy").sum())
    42
    """
    try:
        # Cut short instead, it would end every process that reads it.
        path.unlink(missing_ok=True)
        array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # neither Windows nor macOS
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, max(path.stat().st_size, 1))
        return array
    except OSError as error:
        raise located(error, path, math.prod(shape) * np.dtype(dtype).itemsize) from error
