"""What files a folder holds, and how to tell later that it still holds the same."""

from __future__ import annotations

import fnmatch
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fewlabels.data.decode import natural_key

READ_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".avif"),
)
# HEIC is not read, and what reads images says so.
IMAGE_SUFFIXES = (*READ_SUFFIXES, ".heic", ".heif")
# By these a folder is known that fewlabels, or a tracker, wrote: a model, a training that was stopped, a comparison,
# features, whole and begun, labels of a stream, events for TensorBoard.
_WRITTEN = (
    ("config.json", "model.safetensors"),
    ("training.json", "*.safetensors"),
    ("config.json", "metrics.jsonl"),
    ("features.json", "features.npy"),
    ("progress.json", "features.npy"),
    ("_plan.json",),
    ("events.out.tfevents.*",),
)
# What else a run has, pictures among it.
_OF_MLFLOW = "mlruns"
_CLUTTER = {"thumbs.db", "desktop.ini"}
# File systems tell times in ticks of up to two seconds (FAT): what changed just before it was listed may
# change again without looking different.
_TICK_NS = 2_000_000_000

Stamp = tuple[int, int, int, int]


def stamp_of(facts: os.stat_result) -> Stamp:
    """Return what changes with a file or folder, each at most 63 bits.

    Its size, when it was last written, when it was last written or got another name, owner or mode (nanoseconds), and
    its number on the disk. When it was last written, an archive that is unpacked sets to what it likes.
    """
    # Windows does not tell the number where it lists a folder.
    inode = 0 if sys.platform == "win32" else facts.st_ino
    # From 2262 on, as a clock or an archive may have it, nanoseconds take more.
    written, changed, number = (value & (2**63 - 1) for value in (facts.st_mtime_ns, facts.st_ctime_ns, inode))
    return facts.st_size, written, changed, number


@dataclass
class FileFacts:
    """A file as it was found.

    Attributes
    ----------
    path : str
        Where it is.
    stamp : tuple of int
        See `stamp_of`.
    """

    path: str
    stamp: Stamp = (0, 0, 0, 0)


@dataclass
class Listing:
    """Lists folders and keeps in mind how each was.

    Attributes
    ----------
    folders : dict of str to tuple of int
        Absolute path of each folder that was listed with what `stamp_of` returned before it was.
    written : list of str
        Path of each folder that was passed over because fewlabels, or a tracker, wrote it.
    """

    folders: dict[str, Stamp] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    _settled: bool = True

    @property
    def is_settled(self) -> bool:
        """Whether any later change of what was listed, but not of a file in place, shows in the folders' times."""
        return self._settled

    def entries(self, folder: str | Path) -> list[os.DirEntry[str]]:
        """Return what a folder holds, but for hidden things, in natural order."""
        place = os.fspath(folder)
        facts = os.stat(place)
        # Not normalized: `..` after a link leads elsewhere than the path without both.
        self.folders[str(Path(place).absolute())] = stamp_of(facts)
        self._settled = self._settled and time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > _TICK_NS
        with os.scandir(place) as found:
            visible = [entry for entry in found if not entry.name.startswith(".")]
        return sorted(visible, key=lambda entry: natural_key(entry.name))

    def lost(self, entry: os.DirEntry[str]) -> FileFacts | None:
        """Return a link that leads nowhere as a file, so that what reads it says so; of anything else, None."""
        if not entry.is_symlink() or os.path.exists(entry.path):
            return None
        # What it leads to may come back, as a disk does, and nothing that was listed changes.
        self._settled = False
        return FileFacts(entry.path)

    def files_in(self, folder: str | Path) -> Iterator[FileFacts]:
        """Yield the files that lie in a folder itself, in natural order."""
        return self._files_in(os.fspath(folder), [], [])

    def files_below(self, folder: str | Path, endings: tuple[str, ...] = ("",)) -> Iterator[FileFacts]:
        """Yield files in natural order, following links to what lies elsewhere; no folder is read twice.

        Folders that fewlabels wrote are passed over, and files whose name, in lower case, has none of the endings.
        """
        # No recursion: folders may lie deeper than Python's calls may go.
        waiting, read = [os.fspath(folder)], [os.path.realpath(folder)]
        while waiting:
            deeper: list[str] = []
            yield from self._files_in(waiting.pop(), deeper, read, endings)
            waiting += reversed(deeper)

    def passed_over(self, folder: str) -> bool:
        """Say whether a folder that was read, or one below it, was passed over as written by fewlabels."""
        return any(_is_within(place, folder) for place in self.written)

    def _files_in(
        self, folder: str, deeper: list[str], read: list[str], endings: tuple[str, ...] = ("",)
    ) -> Iterator[FileFacts]:
        entries = self.entries(folder)
        if _is_written(folder, [entry.name for entry in entries]):
            self.written.append(folder)
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                # Below a link around others, what these lead to was read already.
                if len(read) < 2 or os.path.realpath(entry.path) not in read:
                    deeper.append(entry.path)
            elif is_folder(entry):
                target = os.path.realpath(entry.path)
                # A link into what is read anyway would give images twice; one around the folder that is listed, or
                # that in which it lies, would give all that lies beside it, or go in circles.
                around = (*read[:1], os.path.realpath(folder))
                if not any(_is_within(target, one) for one in read) and not any(
                    _is_within(one, target) for one in around
                ):
                    read.append(target)
                    deeper.append(entry.path)
            elif entry.name.lower() in _CLUTTER or not entry.name.lower().endswith(endings):
                continue
            elif _is_file(entry):
                yield FileFacts(entry.path, stamp_of(entry.stat()))
            elif (lost := self.lost(entry)) is not None:
                yield lost


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a folder, or a link that leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_written(folder: str, names: list[str]) -> bool:
    """Say whether a folder holds what fewlabels or a tracker writes, and no image."""
    if os.path.basename(folder) == _OF_MLFLOW:
        return True
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return False
    return any(all(fnmatch.filter(names, pattern) for pattern in kind) for kind in _WRITTEN)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
