"""A data set with a pool in shards beside its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np

from fewlabels.data.dataset import UNKNOWN, ImageDataset, ImageNames
from fewlabels.data.shards import Shards
from fewlabels.data.streamed import StreamedRows
from fewlabels.storage.errors import InputError

DEFAULT_LIMIT = "2GB"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kmgt]?)(i?)b?", re.IGNORECASE)


def read_size(text: int | str) -> int:
    """Return a number of bytes that is given as such or in words.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> read_size("2GB"), read_size("1.5 MiB"), read_size(512)
    (2000000000, 1572864, 512)
    """
    found = _SIZE.fullmatch(str(text).strip())
    if found is None:
        raise InputError(f"{text!r} is no size; expected bytes, or a number with kB, MB, GB or TB, such as 2GB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** " kmgt".index(found[2].lower() or " "))


def with_pool(
    data: ImageDataset,
    url: str,
    limit: int | str,
    cache: Path,
    *,
    strict: bool = False,
) -> ImageDataset:
    """Return a data set with more pool images, which are read as they are needed.

    Parameters
    ----------
    data : ImageDataset
        Of images; its pool images come first.
    url : str
        See `fewlabels.data.shards.Shards`.
    limit : int or str
        What decoded images may take on the disk.
    cache : Path
        The cache folder.
    strict : bool
        Refuse images that cannot be read rather than leave them out.

    Raises
    ------
    InputError
        If the pool cannot be read, or the limit is too small.
    """
    if data.is_features:
        raise InputError(f"{data.name} holds features of a pretrained net; a pool of images does not go with them")
    shards = Shards(url, cache)
    more = StreamedRows(
        shards, data.image_size, gray=data.channels == 1, cache=cache, limit=read_size(limit), strict=strict
    )
    # As large as the pool, and as small as one number.
    unknown = np.broadcast_to(np.int64(UNKNOWN), len(more))
    own = data.diagnostics.pool_labels
    labels = np.concatenate([own, unknown]) if len(own) else unknown
    pieces = [] if data.pool_names is None else list(data.pool_names.pieces)
    names = ImageNames([*pieces, ("pool", unknown, _Names(more))])
    return replace(
        data,
        pool=data.pool.joined(more) if len(data.pool) else more,
        pool_names=names,
        diagnostics=replace(data.diagnostics, pool_labels=labels, pool_names=None),
        notes=(
            *data.notes,
            f"{len(more):,} pool images in {len(shards.files):,} files are read as they are needed",
            *shards.notes,
        ),
    )


class _Names(Sequence[str]):
    """What the images of a streamed pool are called, one at a time."""

    def __init__(self, rows: StreamedRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._rows.name(row) for row in range(*index.indices(len(self)))]
        return self._rows.name(index)
