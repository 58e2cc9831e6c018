"""Where decoded images and downloads are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(chosen: str | Path | None = None) -> Path:
    """Return the folder for caches: the chosen one, `$FEWLABELS_CACHE`, or the platform's own.

    Examples
    --------
    >>> cache_folder("/tmp/here").as_posix()
    '/tmp/here'
    """
    if chosen is not None:
        return Path(chosen)
    if named := os.environ.get("FEWLABELS_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "fewlabels"
