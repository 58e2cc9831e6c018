"""Downloads that go on where they were cut off, and are what they should be."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from fewlabels.storage.atomic import NO_ROOM, located
from fewlabels.storage.errors import InputError, Interrupted
from fewlabels.storage.lock import FileLock
from fewlabels.storage.screen import new_bar

_CHUNK = 1 << 20
_TRIES = 5
_TIMEOUT = 30.0
_WAIT = 0.5


def download(url: str, target: Path, md5: str, *, progress: bool = False) -> Path:
    """Fetch a file unless it is there already.

    What has come of a broken download stays in `<target>.part` and is continued, also by a later call. While another
    process fetches the same file, it is waited for.

    Parameters
    ----------
    url : str
        http or https address.
    target : Path
        Where to put it.
    md5 : str
        Checksum that the publisher gives, hexadecimal.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InputError
        If the address cannot be reached, or what comes has another checksum (it is then removed).
    Interrupted
        If Ctrl-C stops it and there is something to go on with.
    """
    if target.exists():
        return target
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url!r} is no http or https address")
    target.parent.mkdir(parents=True, exist_ok=True)
    bar = new_bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        shown=progress,
    )
    with bar:
        task = bar.add_task(f"downloading {target.name}", total=None)
        told = f"waiting for another process that downloads {target.name}"
        lock = target.with_name(target.name + ".lock")
        with FileLock.when_free(lock, every=_WAIT, waiting=lambda: bar.update(task, description=told)):
            if not target.exists():
                part = target.with_name(target.name + ".part")
                _fetch(url, part, bar, task)
                verify(part, md5, remove=True)
                os.replace(part, target)
    return target


def _fetch(url: str, part: Path, bar: Progress, task: Any) -> None:
    """Fetch what is missing of a file, again while something comes."""
    bar.update(task, description=f"downloading {part.stem}")
    for attempt in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, bar, task)
            return
        except KeyboardInterrupt as stop:
            if not part.exists():
                raise
            raise Interrupted(f"stopped; what has come is kept in {part}, and the same command goes on") from stop
        except (OSError, EOFError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise located(error, part) from error
            came = (part.stat().st_size if part.exists() else 0) > before
            # As long as something comes, the line is only bad; a fruitless try or a refusal ends it.
            if attempt == _TRIES - 1 or not came:
                raise InputError(
                    f"{url} cannot be downloaded ({getattr(error, 'reason', error)}); download it by other means "
                    f"and give its path, or run the command again to go on with what has come"
                ) from error


def verify(path: Path, md5: str, *, remove: bool = False) -> None:
    """Check a file's MD5.

    Raises
    ------
    InputError
        If it differs; with `remove` the file is deleted first.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        if remove:
            path.unlink()
        raise InputError(
            f"{path} has checksum {found}, expected {md5}: it is damaged or another file; download it again"
        )


def _continue(url: str, part: Path, bar: Progress, task: Any) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            error.close()
            size = error.headers.get("Content-Range", "").removeprefix("bytes */")
            if not size.isdecimal() or int(size) <= have:
                return  # nothing is left to come; the checksum decides
        raise
    with response:
        # A server that cannot continue sends all of it again; and one that wants a login first, its page.
        anew = bool(have) and response.status != 206
        place, begin = (part.with_suffix(".anew"), 0) if anew else (part, have)
        length = response.headers.get("Content-Length")
        total = None if length is None else begin + int(length)
        bar.update(task, total=total, completed=begin)
        try:
            with place.open("ab" if begin else "wb") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    bar.advance(task, len(chunk))
                file.flush()
                os.fsync(file.fileno())
                if file.tell() < (least := max(have, total or 0)):
                    raise EOFError(f"the connection ended after {file.tell():,} of {least:,} bytes")
        finally:
            if anew and place.exists():
                if place.stat().st_size >= have:
                    os.replace(place, part)
                else:
                    place.unlink()
