"""Write a file or a folder so that a reader sees all of it or none of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import glob
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewlabels.storage.errors import InputError

# Seconds after which nobody goes on with what he has begun to write.
ABANDONED = 86_400.0
# Of Linux's renameat2: relative to the working folder, and swap.
_HERE, _EXCHANGE = -100, 2
# Of a rename onto a folder with something in it, or onto a file.
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
# Of a disk, a file or a share of the disk that is full.
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def check_writable(target: Path) -> None:
    """Refuse a place that no folder can be put in as a whole, before the work whose result is to lie there.

    Raises
    ------
    InputError
        With why.
    """
    if _is_mount_point(target.resolve()):
        raise InputError(
            f"{target} is a mount point, which cannot be replaced as a whole; give a folder in it: {target / 'model'}"
        )
    check_beside(target)


def check_beside(target: Path) -> None:
    """Refuse a place beside which nothing can be written, as a file or a folder is before it takes its place.

    Raises
    ------
    InputError
        With why.
    """
    parent = next(folder for folder in target.resolve().parents if folder.exists())
    if not parent.is_dir():
        raise InputError(f"{target} cannot be written: {parent} is a file, and no folder")
    try:
        Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=parent)).rmdir()
    except OSError as error:
        raise InputError(f"{target} cannot be written: {parent}: {error.strerror}") from error


def _is_mount_point(folder: Path) -> bool:
    if os.path.ismount(folder):
        return True
    # What is mounted from the same disk looks like any other folder.
    escaped = re.sub(rb"[ \t\n\\]", lambda found: b"\\%03o" % ord(found[0]), os.fsencode(folder))
    try:
        mounted = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    return any(line.split(b" ")[4] == escaped for line in mounted.splitlines())


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that takes its place when the block ends well.

    An existing `target` is replaced in one rename; when the block raises, nothing of it stays behind. Where it is a
    link, what it points to is replaced.
    """
    target = target.resolve() if target.is_symlink() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                sync(path)
        # mkdtemp makes the folder private; the finished one follows the umask as any other would.
        _set_mode(temporary, 0o777 & ~_umask())
        if not (_renamed(temporary, target) or _exchange(temporary, target)):
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
            target.rename(old / "old")
            temporary.rename(target)
            shutil.rmtree(old)
        _sync_folder(target.parent)
    except OSError as error:
        # What went wrong with another file is not the folder's fault.
        if error.filename is not None and not str(error.filename).startswith(str(temporary)):
            raise
        raise located(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path`, flush it to the disk and rename it.

    A file that is there keeps its mode; where `path` is a link, what it points to is written. What is no file, such as
    a pipe, is written to as it is.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        try:
            path.write_bytes(content)
        except OSError as error:
            raise located(error, path) from error
        return
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    name = ""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _set_mode(name, _mode_of(place))
        os.replace(name, place)
        _sync_folder(place.parent)
    except BaseException as error:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
        if isinstance(error, OSError):
            raise located(error, path, len(content)) from error
        raise


def copy_all(source: Path, target: Path) -> None:
    """Copy a file, a link or a folder with all that is in it, with times and modes where the place has such."""
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_dir():
        target.mkdir()
        for path in source.iterdir():
            copy_all(path, target / path.name)
    else:
        shutil.copyfile(source, target)
    with contextlib.suppress(OSError):
        shutil.copystat(source, target, follow_symlinks=False)


def _set_mode(path: str | Path, mode: int) -> None:
    # Disks without modes, or of another owner, may refuse it where files can be made all the same.
    with contextlib.suppress(OSError):
        os.chmod(path, mode)


def _mode_of(path: Path) -> int:
    """Return the mode that a file has, or that a new one would get."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def remove_leftovers(folder: Path, unused_s: float = 0.0, *, of: str | None = None) -> None:
    """Remove the temporary files and folders that a process left in a folder when it was killed while writing.

    Where other processes work in the folder, `unused_s` are the seconds after which what is not written to is nobody's.
    Where the folder is not ours, `of` is the name of what they were to become.
    """
    name = "*" if of is None else f"{glob.escape(of)}.*"
    for path in [*folder.glob(f".{name}.part"), *folder.glob(f".{name}.old")]:
        if unused_s and time.time() - _last_written(path) < unused_s:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _last_written(path: Path) -> float:
    times = [0.0]
    for one in (path, *path.glob("**/*")):
        # Its process may be done with it just now.
        with contextlib.suppress(OSError):
            times.append(one.stat().st_mtime)
    return max(times)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` does; bytes of a file's name that are no text are written out."""
    # In JSON, what is written out so reads as the same characters again.
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def located(error: OSError, path: Path, size: int | None = None) -> OSError:
    """Return an error that names what was to be written, and how large it is where the disk has no room for it."""
    reason = error.strerror or str(error)
    if size is not None and error.errno in NO_ROOM:
        reason += f" ({max(size, 100_000) / 1e6:.1f} MB are needed)"
    return OSError(error.errno, reason, str(path))


def _renamed(one: Path, other: Path) -> bool:
    """Rename a folder, and say whether that was done: not where something of the name is there already."""
    # Looking before would not do: another process may finish the same folder in between.
    try:
        one.rename(other)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, where the system can: there is no moment in which one of them is missing."""
    rename = getattr(_library(), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None) if sys.platform == "linux" else None
    except OSError:
        return None


def _sync_folder(folder: Path) -> None:
    # The new name is on the disk only when its folder is; Windows knows no such thing.
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            sync(folder)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; not for folders on Windows."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
