"""Reading archives from anywhere: nothing is written outside, nothing is executed, sizes are checked."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import first_line


class Header(tarfile.TarInfo):
    """A member's header; where the file ends or goes wrong before the mark that ends an archive, that is an error.

    `tarfile` by itself takes what was cut off between two members for the whole.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Return the next member."""
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            # Of what is no archive from the start, tarfile says so.
            if isinstance(error, tarfile.EOFHeaderError) or archive.offset == 0:  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError("it ends, or goes wrong, between two members; fetch or make it anew") from error


def read_members(archive: Path, wanted: Callable[[str], bool], read: Callable[[str, IO[bytes], int], None]) -> None:
    """Hand the wanted regular files of a tar archive to `read`, one after the other, without extracting any.

    Parameters
    ----------
    archive : Path
        A tar file, compressed or not; or the folder of one that was extracted.
    wanted : callable
        Says by its base name whether a member is of interest.
    read : callable
        Gets the base name, an open file, and the size in bytes.

    Raises
    ------
    InputError
        If the archive is damaged, or a member's path points outside or is a link or a device.
    """
    if archive.is_dir():
        for path in sorted(archive.rglob("*")):
            if path.is_file() and wanted(path.name):
                with path.open("rb") as opened:
                    read(path.name, opened, path.stat().st_size)
        return
    try:
        with tarfile.open(archive, tarinfo=Header) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if member.name.startswith("/") or ".." in parts:
                    raise InputError(f"{archive}: member {member.name!r} points outside of the archive; refused")
                if not wanted(Path(member.name).name) or member.isdir():
                    continue
                if not member.isreg():
                    raise InputError(f"{archive}: member {member.name!r} is a link or a device; refused")
                file = tar.extractfile(member)
                if file is None:
                    raise InputError(f"{archive}: member {member.name!r} has no content; refused")
                read(Path(member.name).name, file, member.size)
    except InputError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, ArithmeticError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{archive} is not a readable archive: {first_line(error)}") from error
