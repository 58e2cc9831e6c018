"""The model that another takes the place of: it is kept beside, in `FOLDER.before`."""

from __future__ import annotations

import shutil
from pathlib import Path

from fewlabels.storage.atomic import atomic_folder, check_writable
from fewlabels.storage.errors import InputError
from fewlabels.storage.model_folder import check_target


def check_place_before(folder: Path) -> None:
    """Refuse a model's folder whose `FOLDER.before` holds what is no model of before, or cannot be written.

    Raises
    ------
    InputError
        With what to do.
    """
    target = place_before(folder)
    try:
        check_target(target)
    except InputError as error:
        raise InputError(
            f"{target}, where the model that is replaced would be kept, holds other files; move them away"
        ) from error
    check_writable(target)


def keep_before(folder: Path) -> Path:
    """Copy a model's folder to `FOLDER.before`, which is replaced as a whole, and return that."""
    target = place_before(folder)
    with atomic_folder(target) as temporary:
        for path in folder.iterdir():
            if path.is_file():
                shutil.copyfile(path, temporary / path.name)
    return target


def place_before(folder: Path) -> Path:
    """Return where the model that is replaced is kept."""
    return folder.with_name(f"{folder.name}.before")
