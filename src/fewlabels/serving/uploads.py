"""The folder that uploaded files lie in while the page shows them: it does not grow."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_BYTES = 256 << 20
_FILES = 256


class UploadFolder:
    """A folder for files that are needed for a moment, as a context manager that takes it away.

    Parameters
    ----------
    most_bytes : int
        How much may lie there; the oldest go first.
    most_files : int
        How many.

    Examples
    --------
    >>> with UploadFolder(most_files=1) as uploads:
    ...     for name in "ab":
    ...         _ = (uploads.path / name).write_text(name)
    ...         os.utime(uploads.path / name, (ord(name), ord(name)))
    ...     uploads.trim()
    ...     print([path.name for path in uploads.path.iterdir()])
    ['b']
    """

    def __init__(self, *, most_bytes: int = _BYTES, most_files: int = _FILES) -> None:
        self.most_bytes, self.most_files = most_bytes, most_files
        self.path = Path(tempfile.mkdtemp(prefix="fewlabels-uploads-"))
        self._lock = threading.Lock()

    def trim(self) -> None:
        """Take away the oldest files where there are too many."""
        with self._lock:
            found = []
            for folder, _, names in os.walk(self.path):
                for name in names:
                    path = Path(folder) / name
                    with contextlib.suppress(OSError):
                        facts = path.stat()
                        found.append((facts.st_mtime, facts.st_size, path))
            found.sort(reverse=True)
            held = 0
            for number, (_, size, path) in enumerate(found):
                held += size
                # The newest is being looked at, however large it is.
                if number and (number >= self.most_files or held > self.most_bytes):
                    with contextlib.suppress(OSError):
                        path.unlink()
                        path.parent.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
