"""Where decoded images and downloads are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fewlabels.storage.errors import InputError


def named_cache(chosen: str | Path | None = None) -> Path | None:
    """Return the folder for caches that was chosen, or that `$FEWLABELS_CACHE` names; None where none is named."""
    if chosen is not None:
        return Path(chosen)
    named = os.environ.get("FEWLABELS_CACHE")
    # No shell has filled in the `~` of a service's or a container's settings.
    return Path(named).expanduser() if named else None


def cache_folder(chosen: str | Path | None = None) -> Path:
    """Return the folder for caches: the chosen one, `$FEWLABELS_CACHE`, or the platform's own.

    Raises
    ------
    InputError
        If none is named, and the user has no home.

    Examples
    --------
    >>> cache_folder("/tmp/here").as_posix()
    '/tmp/here'
    """
    try:
        if (named := named_cache(chosen)) is not None:
            return named
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            # By its specification, one that is not absolute is to be ignored.
            given = os.environ.get("XDG_CACHE_HOME", "")
            base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError as error:  # a user without a home, as in a container
        raise InputError("there is no home folder to keep decoded images in; set FEWLABELS_CACHE") from error
    return base / "fewlabels"
