"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from fewlabels.storage.errors import InputError

LOCK_NAME = ".lock"


class FolderLock:
    """Holds a folder for this process, as a context manager or until `release`.

    The system itself holds the lock and lets go of it when the process ends, however it ends: there is nothing to
    clear away after a crash.

    Parameters
    ----------
    folder : Path
        Is made where it is missing.

    Raises
    ------
    InputError
        If another process (or another lock of this one) holds the folder.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, FolderLock(Path(name)):
    ...     try:
    ...         FolderLock(Path(name))
    ...     except InputError as error:
    ...         print("in use by process" in str(error))
    True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK_NAME
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _hold(handle):
                holder = os.read(handle, 20).decode("ascii", "replace").strip() or "another"
                os.close(handle)
                raise InputError(
                    f"{folder} is in use by process {holder}; wait until it ends, stop it, or give another folder"
                )
            # Between opening and locking, whoever held the lock may have taken the file away.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                break
            os.close(handle)
        # Who holds it is for the others' message alone: a disk too full for that is told by what comes next.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        self._handle: int | None = handle

    def release(self) -> None:
        """Let go of the folder; a second call does nothing."""
        if self._handle is None:
            return
        if sys.platform == "win32":  # where an open file cannot be taken away
            os.close(self._handle)
            with contextlib.suppress(OSError):
                (self.folder / LOCK_NAME).unlink(missing_ok=True)
        else:
            with contextlib.suppress(OSError):
                (self.folder / LOCK_NAME).unlink(missing_ok=True)
            os.close(self._handle)
        self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _hold(handle: int) -> bool:
    """Lock an open file without waiting, and say whether that went well."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # Far behind the content, which others may so still read.
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
