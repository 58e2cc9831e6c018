"""The images to label, by name: what the model sees of them, and what a person does."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from fewlabels.data import ImageDataset
from fewlabels.data.decode import UnreadableImage
from fewlabels.serving.pictures import data_address, fitted

# Large enough to tell what is on a photo.
_SIDE = 480
_KEPT = 64


@dataclass
class PoolPictures:
    """Pictures of a data set's pool for a page.

    Parameters
    ----------
    data : ImageDataset
        Of images.

    Examples
    --------
    >>> from fewlabels import load_dataset
    >>> pictures = PoolPictures(load_dataset("digits"))
    >>> len(pictures.names), pictures.large(pictures.names[0])[:22]
    (1100, 'data:image/png;base64,')
    """

    data: ImageDataset
    _rows: dict[str, int] = field(default_factory=dict)
    _large: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        names = self.data.pool_names
        self.names: list[str] = [] if names is None else list(names)
        self._rows = {name: row for row, name in enumerate(self.names)}
        source = Path(self.data.source)
        self._folder = source.resolve() if source.is_dir() else None

    def row(self, name: str) -> int:
        """Return which row of the pool an image is."""
        return self._rows[name]

    def small(self, name: str) -> str:
        """Return the address of the picture as the model sees it."""
        return data_address(self.data.pool[self._rows[name]])

    def large(self, name: str) -> str:
        """Return the address of the picture as a person wants it: from its file, where it has one."""
        with self._lock:
            if name in self._large:
                self._large.move_to_end(name)
                return self._large[name]
        address = self._from_file(name) or self.small(name)
        with self._lock:
            self._large[name] = address
            while len(self._large) > _KEPT:
                self._large.popitem(last=False)
        return address

    def _from_file(self, name: str) -> str | None:
        if self._folder is None:
            return None
        try:
            # A source may name its images as it likes: what lies elsewhere is shown where a link of the folder's leads.
            path = Path(os.path.normpath(self._folder / name))
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
            return data_address(fitted(path, _SIDE))
        except (OSError, ValueError, UnreadableImage):
            return None
