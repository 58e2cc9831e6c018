"""One process at a time in a folder, or at a file."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from fewlabels.storage.errors import InputError

LOCK_NAME = ".lock"
# What systems say of a file that another process has locked; anything else means that there are no locks here.
_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}


class FileLock:
    """Holds what a file stands for, for this process, as a context manager or until `release`.

    The system itself holds the lock and lets go of it when the process ends, however it ends: there is nothing to
    clear away after a crash. On a file system that has no locks a warning says that nothing keeps others out.

    Parameters
    ----------
    path : Path
        The file; it is made, and taken away in the end.
    what : str, optional
        Names what is held, for the message; the file when not given.
    quiet : bool
        Say nothing where a file system has no locks.

    Raises
    ------
    InputError
        If another process (or another lock of this one) holds it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, FileLock(Path(name) / "one"):
    ...     try:
    ...         FileLock(Path(name) / "one", "the one")
    ...     except InputError as error:
    ...         print(str(error)[:28])
    the one is in use by process
    """

    def __init__(self, path: Path, what: str | None = None, *, quiet: bool = False) -> None:
        self._path = path
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _hold(handle, quiet):
                holder = os.read(handle, 20).decode("ascii", "replace").strip() or "another"
                os.close(handle)
                raise InputError(
                    f"{what or path} is in use by process {holder}; wait until it ends, stop it, or give another folder"
                )
            # Between opening and locking, whoever held the lock may have taken the file away.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    break
            os.close(handle)
        # Who holds it is for the others' message alone: a disk too full for that is told by what comes next.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        self._handle: int | None = handle

    @classmethod
    def when_free(
        cls, path: Path, *, every: float, patience: float = math.inf, waiting: Callable[[], object] = lambda: None
    ) -> Self:
        """Hold what a file stands for as soon as nobody else does.

        Parameters
        ----------
        path : Path
            The file.
        every : float
            Seconds between two tries.
        patience : float
            Seconds after which to give up.
        waiting : callable
            Is called before each wait.

        Raises
        ------
        InputError
            If it is still held then.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return cls(path)
            except InputError:
                if time.monotonic() > deadline:
                    raise
                waiting()
                time.sleep(every)

    def release(self) -> None:
        """Let go of the folder; a second call does nothing."""
        if self._handle is None:
            return
        if sys.platform == "win32":  # where an open file cannot be taken away
            os.close(self._handle)
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        else:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._handle)
        self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class FolderLock(FileLock):
    """Holds a folder for this process; see `FileLock`.

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
        super().__init__(folder / LOCK_NAME, str(folder))


def _hold(handle: int, quiet: bool) -> bool:
    """Lock an open file without waiting, and say whether another process has it."""
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
    except OSError as error:
        if error.errno in _HELD:
            return False
        if not quiet:
            warnings.warn(
                f"this file system has no locks ({error.strerror}): nothing keeps a second process out of the same "
                "folder",
                RuntimeWarning,
                stacklevel=4,
            )
    return True
