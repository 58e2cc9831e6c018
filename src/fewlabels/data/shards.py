"""A pool as it lies in storage: Parquet files or WebDataset archives, on a disk or behind an address, by blocks."""

from __future__ import annotations

import contextlib
import copy
import glob
import json
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from fewlabels.data.archives import Header
from fewlabels.data.decode import natural_key
from fewlabels.data.listing import READ_SUFFIXES, Listing
from fewlabels.storage.addresses import without_secrets, without_secrets_in, without_user
from fewlabels.storage.atomic import write_json
from fewlabels.storage.errors import InputError
from fewlabels.storage.keys import key_of
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import counted, enumeration, first_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What is read, decoded and kept at a time: few enough to shuffle well, enough to be worth a request.
BLOCK_ROWS = 1024
BLOCK_BYTES = 64 << 20
_FORMAT_VERSION = 1
_INDEX_VERSION = 2
_BATCH = 64
_PIECE = 1 << 20
# What file systems call a checksum or a version of a file's content, and its time of change.
_SAY_CONTENT = ("ETag", "etag", "xet_hash", "blob_id", "md5Hash", "generation", "content_md5")
_SAY_TIME = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created")
_ENDINGS = (".parquet", ".tar")
_ON_THE_WEB = ("http://", "https://")
_NOT_FOUND = 404
# Of these, no part can be read by itself.
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
# Images that nothing here reads, so that it can be told.
_OTHER_IMAGES = (".heic", ".heif", ".jxl", ".ico", ".tga", ".psd", ".svg", ".dng")


@dataclass(frozen=True)
class Block:
    """Some images that lie together in one file.

    Attributes
    ----------
    file : int
        Number of the file among the pool's.
    count : int
        Images in it.
    first : int
        Row of its first image in the file.
    groups : tuple of int
        Row groups of a Parquet file.
    members : tuple of (str, int, int)
        Name, offset and size of the images of an archive.
    """

    file: int
    count: int
    first: int
    groups: tuple[int, ...] = ()
    members: tuple[tuple[str, int, int], ...] = ()


class _Index(TypedDict):
    """What an archive holds: images to read, how many more there are of their samples, and images that are not read."""

    members: list[tuple[str, int, int]]
    passed: int
    others: list[str]


class Shards:
    """The files of a pool and the blocks that they are read in.

    Parameters
    ----------
    url : str
        A file, a folder or a pattern with `*`: a path, or an address that fsspec knows (`s3://bucket/pool/*.tar`,
        `memory://pool`). Parquet files have images in a column `image` (bytes, or a struct with bytes), archives have
        one image a sample, not compressed as a whole.
    cache : Path
        Folder in which the indexes of archives are kept.

    Attributes
    ----------
    files : list of str
        Paths within the file system, in natural order.
    blocks : list of Block
        In the order of the rows.
    notes : tuple of str
        What was not read.
    key : str
        Names files, sizes and versions: the same pool has the same.

    Raises
    ------
    InputError
        If there are no such files, or one cannot be read.

    Examples
    --------
    >>> import fsspec, io, tarfile
    >>> with fsspec.open("memory://doctest/a.tar", "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
    ...     member = tarfile.TarInfo("0001.jpg")
    ...     member.size = 3
    ...     archive.addfile(member, io.BytesIO(b"abc"))
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     shards = Shards("memory://doctest/*.tar", Path(cache))
    ...     print(len(shards.blocks), list(shards.read(0)), shards.name(0, 0))
    1 [b'abc'] memory:///doctest/a.tar::0001.jpg
    """

    def __init__(self, url: str, cache: Path) -> None:
        if not url:
            raise InputError("the address of the pool is empty; give its files, a folder or a pattern")
        # What is shown and kept says where the files are, not what opens them.
        self.url = without_secrets(url)
        with self._reached(url):
            self._system, self._place = _file_system(url)
            self.files, left = _find(self._system, self._place)
        facts = []
        for path in self.files:
            with self._reached(path):
                facts.append(self._system.info(path))
        if not self.files:
            raise InputError(f"{self.url} holds no {' or '.join('*' + ending for ending in _ENDINGS)} files")
        _refuse_one_name(self.files)
        self._versions = [_version(path, info) for path, info in zip(self.files, facts, strict=True)]
        self.key = key_of([_FORMAT_VERSION, BLOCK_ROWS, self._versions])
        self.blocks: list[Block] = []
        passed = 0
        others: list[str] = []
        for number, path in enumerate(self.files):
            with self._reached(path):
                if _plain(path).endswith(".parquet"):
                    self.blocks += _parquet_blocks(self._open_parquet(path), number)
                else:
                    memo = (
                        cache
                        / "shards"
                        / "indexes"
                        / f"{key_of([_INDEX_VERSION, without_secrets(path), self._versions[number]])}.json"
                    )
                    found = self._index(path, memo)
                    self.blocks += _archive_blocks(found["members"], number)
                    passed += found["passed"]
                    others += found["others"]
        if not self.blocks:
            raise InputError(f"{self.url}: there is no image in its {len(self.files)} files")
        self.notes = _notes(left, passed, others)

    def part(self, numbers: Sequence[int]) -> Shards:
        """Return a pool of some of the blocks, small enough to be sent elsewhere."""
        some = copy.copy(self)
        some.blocks = [self.blocks[number] for number in numbers]
        used = sorted({block.file for block in some.blocks})
        some.files = [self.files[file] for file in used]
        some._versions = [self._versions[file] for file in used]
        some.blocks = [replace(block, file=used.index(block.file)) for block in some.blocks]
        return some

    def would_take(self, url: str) -> bool:
        """Say whether a file that is written to a path or address would be one of the pool's the next time."""
        system, place = _file_system(url)
        if type(system) is not type(self._system):
            return False
        if "*" in self._place:
            return _fits(self._place, place)
        return f"{_real(system, place)}/".startswith(f"{_real(system, self._place).rstrip('/')}/")

    def read(self, number: int) -> Iterator[bytes]:
        """Yield the encoded images of a block, a few of them in memory at a time.

        Raises
        ------
        InputError
            If its file cannot be read, or is another than when the pool was opened.
        """
        block = self.blocks[number]
        path = self.files[block.file]
        shown = without_secrets(path)
        with self._reached(path):
            # What the file system remembers of it would be as before.
            self._system.invalidate_cache(path)
            if _version(path, self._system.info(path)) != self._versions[block.file]:
                raise InputError(f"{shown} has changed since the pool was opened; put it back, or begin anew")
            if block.members:
                first, last = block.members[0], block.members[-1]
                content = self._system.cat_file(path, start=first[1], end=last[1] + last[2])
                if len(content) > last[1] + last[2] - first[1]:
                    raise _sent_whole(shown)
                for _, offset, size in block.members:
                    start = offset - first[1]
                    yield content[start : start + size]
                return
            file = self._open_parquet(path)
            column = _image_column(file, shown)
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=list(block.groups), columns=[column]):
                values = batch.column("image")
                for content in values.field("bytes") if pa.types.is_struct(values.type) else values:
                    yield content.as_py() or b""

    def name(self, number: int, row: int) -> str:
        """Return what the image in a row of a block is called."""
        block = self.blocks[number]
        path = without_secrets(str(self._system.unstrip_protocol(self.files[block.file])))
        if block.members:
            return f"{path}::{block.members[row][0]}"
        return f"{path} row {block.first + row}"

    @contextlib.contextmanager
    def _reached(self, place: str) -> Iterator[None]:
        """Turn what goes wrong with a file system into one line."""
        shown = without_secrets(place)
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            raise InputError(f"{self.url} needs another package: {error}") from error
        except FileNotFoundError as error:
            # Of a web server, fsspec calls any answer but a file a missing one.
            cause = error.__cause__
            if cause is not None and place.startswith(_ON_THE_WEB) and getattr(cause, "status", None) != _NOT_FOUND:
                raise InputError(f"{shown} cannot be read: {without_secrets_in(first_line(cause))}") from error
            where = f"where the link {shown} leads" if os.path.islink(place) else f"at {shown}"
            raise InputError(f"there is nothing {where}") from error
        except (pa.ArrowException, tarfile.TarError) as error:
            said = without_secrets_in(first_line(error))
            raise InputError(f"{shown} is damaged, or no file of its kind: {said}") from error
        except Exception as error:  # each file system has errors of its own
            if "range requests" in str(error):
                raise _sent_whole(shown) from error
            raise InputError(f"{shown} cannot be read: {without_secrets_in(first_line(error))}") from error

    def _open_parquet(self, path: str) -> pq.ParquetFile:
        file = pq.ParquetFile(self._system.open(path, "rb"))
        _image_column(file, without_secrets(path))
        return file

    def _index(self, path: str, memo: Path) -> _Index:
        """Return the first image of each sample of an archive, and what else there is; what was found is kept."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(memo.read_text(encoding="utf-8"))
            return {
                "members": [(str(name), int(offset), int(size)) for name, offset, size in kept["members"]],
                "passed": int(kept["passed"]),
                "others": [str(name) for name in kept["others"]],
            }
        found: _Index = {"members": [], "passed": 0, "others": []}
        seen: set[str] = set()
        # Without ":", tarfile would unpack what is compressed, of which no part can be read by itself.
        with self._system.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=Header) as archive:
            for member in archive:
                folder, base = posixpath.split(member.name)
                sample = posixpath.join(folder, base.partition(".")[0])
                if not base.lower().endswith((*READ_SUFFIXES, *_OTHER_IMAGES)) or member.isdir():
                    continue
                # A second name of a file is a link to the first.
                if not (member.isfile() and base.lower().endswith(READ_SUFFIXES)):
                    found["others"].append(member.name)
                elif sample in seen:
                    found["passed"] += 1
                else:
                    seen.add(sample)
                    found["members"].append((member.name, member.offset_data, member.size))
            _refuse_another(file, archive.offset, without_secrets(path))
        write_json(memo, found)
        return found


def _sent_whole(place: str) -> InputError:
    return InputError(
        f"{place}: whoever serves it sends whole files where a part is asked for (no range requests); copy it to a "
        "place that does, or to this machine"
    )


def _plain(path: str) -> str:
    """Return a path in lower case, without what stands behind `?` in a web address, to tell its kind by its end."""
    return (path.partition("?")[0] if path.startswith(_ON_THE_WEB) else path).lower()


def _file_system(url: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        system, place = url_to_fs(url)
    except ValueError as error:
        shown, said = without_secrets(url), without_secrets_in(first_line(error))
        raise InputError(f"{shown}: {said}; a path, or an address such as s3://bucket/folder") from error
    return system, str(place)


def _is_here(system: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)


def _real(system: AbstractFileSystem, place: str) -> str:
    return os.path.realpath(place) if _is_here(system) else place


def _fits(pattern: str, place: str) -> bool:
    """Say whether a place is one of a pattern's, in which `**` is any number of folders."""
    from fsspec.utils import glob_translate

    return re.match(glob_translate(pattern), place) is not None


def _find(system: AbstractFileSystem, place: str) -> tuple[list[str], list[str]]:
    """Return the files to read, and those that would be if they were not compressed."""
    if "*" in place:
        found = _matching(place) if _is_here(system) else system.glob(place)
    elif system.isdir(place):
        found = _below(place) if _is_here(system) else system.find(place)
    else:
        system.info(place)  # raises where there is nothing
        if not _plain(place).endswith(_ENDINGS):
            kinds = " and no ".join("*" + ending for ending in _ENDINGS)
            raise InputError(f"{without_secrets(place)} is no {kinds} file")
        found = [place]
    # Hidden ones are no archives: a Mac writes ._pool.tar beside pool.tar.
    shown = (str(path) for path in found if not posixpath.basename(path).startswith("."))
    paths = sorted(shown, key=natural_key)
    return [path for path in paths if _plain(path).endswith(_ENDINGS)], [
        path for path in paths if _plain(path).endswith(_COMPRESSED)
    ]


def _below(folder: str) -> list[str]:
    """Return the files in a folder here; fsspec's own walk enters no linked folder, and passes over one it may not."""
    return [Path(file.path).as_posix() for file in Listing().files_below(folder, (*_ENDINGS, *_COMPRESSED))]


def _matching(pattern: str) -> list[str]:
    """Return the files here that a pattern tells, as `_below` does."""
    if "**" not in pattern:
        return [Path(path).as_posix() for path in glob.iglob(pattern) if not os.path.isdir(path)]
    # Not by `glob`, which goes in circles where a link leads to a folder around it.
    folder = posixpath.dirname(re.split(r"[*?[]", pattern)[0])
    return [path for path in _below(folder) if _fits(pattern, path)]


def _refuse_one_name(paths: list[str]) -> None:
    """Refuse files whose addresses differ in what opens them alone: images of both would have the same names."""
    seen: set[str] = set()
    for path in paths:
        if (shown := without_secrets(path)) in seen:
            raise InputError(f"the pool has {shown} several times, by addresses that differ behind ? alone; give one")
        seen.add(shown)


def _refuse_another(file: IO[bytes], end: int, path: str) -> None:
    """Refuse an archive behind whose end mark there is more than padding: `tarfile` stops there."""
    file.seek(end)
    while content := file.read(_PIECE):
        if content.strip(b"\0"):
            raise InputError(
                f"{path} goes on behind the mark that ends it, as archives do that `cat` put together; give each by "
                "itself, or unpack it (`tar -i`) and make one anew"
            )


def _notes(left: list[str], passed: int, others: list[str]) -> tuple[str, ...]:
    notes = []
    if left:
        names = enumeration([visible(posixpath.basename(without_secrets(path))) for path in left], most=1)
        notes.append(f"not read: {names} (compressed; unpack to .tar)")
    if passed:
        notes.append(
            f"not read: {counted(passed, 'image')} of archives, named as another up to the first dot (an archive has "
            "one image a sample)"
        )
    if others:
        names = enumeration([visible(name) for name in others], most=1)
        notes.append(f"not read: {names} (links to other members, or of a kind that is not read)")
    return tuple(notes)


def _version(path: str, info: dict[str, Any]) -> list[Any]:
    """Return what changes when a file does: what its file system says of its content, or where it lies and when."""
    for name in _SAY_CONTENT:
        if info.get(name):
            # Also behind another signature, or with another password.
            return [posixpath.basename(without_secrets(path)), info.get("size"), str(info[name])]
    known = [name for name in _SAY_TIME if info.get(name)]
    # On a disk, that is when a file got its name or its rights: it changes with these too.
    times = [str(info[name]) for name in known if name != "created" or len(known) == 1]
    # What stands behind `?` may tell files apart, which nothing else does then.
    return [without_user(path), info.get("size"), *times]


def _parquet_blocks(file: pq.ParquetFile, number: int) -> list[Block]:
    blocks: list[Block] = []
    groups: list[int] = []
    first = rows = size = 0
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        if groups and (rows + group.num_rows > BLOCK_ROWS or size + group.total_byte_size > BLOCK_BYTES):
            blocks.append(Block(number, rows, first, tuple(groups)))
            first, rows, size, groups = first + rows, 0, 0, []
        groups.append(index)
        rows, size = rows + group.num_rows, size + group.total_byte_size
    return [*blocks, Block(number, rows, first, tuple(groups))] if rows else blocks


def _archive_blocks(members: list[tuple[str, int, int]], number: int) -> list[Block]:
    blocks: list[Block] = []
    begin = 0
    for end in range(1, len(members) + 1):
        last = end == len(members)
        span = 0 if last else members[end][1] + members[end][2] - members[begin][1]
        if last or end - begin == BLOCK_ROWS or span > BLOCK_BYTES:
            blocks.append(Block(number, end - begin, begin, members=tuple(members[begin:end])))
            begin = end
    return blocks


def _image_column(file: pq.ParquetFile, path: str) -> str:
    """Return the column that holds encoded images, refusing a file without one."""
    schema = file.schema_arrow
    kind = schema.field("image").type if "image" in schema.names else None
    if kind is not None and pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "image.bytes"
    if kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return "image"
    raise InputError(
        f"{path} has no column 'image' of bytes, or of a struct with bytes (its columns: {', '.join(schema.names)})"
    )
