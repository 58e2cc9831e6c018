"""Where a source or file is after the folder that it was near was moved, and it with that."""

from __future__ import annotations

import os
from pathlib import Path

from fewlabels.data import cifar

# Whose archive may be given behind a colon.
OF_ARCHIVES = ("stl10", *cifar.URLS)


def found_again(place: str, before: Path, now: Path) -> str:
    """Return where a source or file is that was near a folder before that folder was moved.

    It is what it was as long as that is there, or where nothing lies as far from the folder as it did before.

    Parameters
    ----------
    place : str
        As `load_dataset` remembers it.
    before, now : Path
        Where the folder was and where it is, both whole.

    Examples
    --------
    >>> found_again("/gone/photos", Path("/gone/model"), Path("/elsewhere/model"))
    '/gone/photos'
    """
    name, colon, path = place.partition(":")
    archive = f"{name}:" if colon and name in OF_ARCHIVES else ""
    was = Path(path if archive else place)
    if before == now or not was.is_absolute() or _is_there(was):
        return place
    try:
        moved = Path(os.path.normpath(now / os.path.relpath(was, before)))
    except ValueError:  # on another drive
        return place
    return f"{archive}{moved}" if _is_there(moved) else place


def _is_there(path: Path) -> bool:
    """Say whether there is a file or folder, or for a pattern the folder that it is looked for in."""
    return path.exists() or ("*" in path.name and path.parent.is_dir())
