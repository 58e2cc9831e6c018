"""What is costly to make, made once for all of pytest's processes: the tests of a file may be divided among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fewlabels.storage.lock import FileLock

PATIENCE = 1800


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first process to ask for it fills, while the others wait.

    Parameters
    ----------
    factory : pytest.TempPathFactory
        The fixture `tmp_path_factory`.
    name : str
        Of the folder, unlike any other test file's.
    make : callable
        Fills the empty folder that it is given.
    """
    base = factory.getbasetemp()
    # Each of several processes has a folder of its own in one that they share.
    place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = place / name, place / f"{name}.done"
    with FileLock.when_free(place / f"{name}.lock", every=0.1, patience=PATIENCE):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
