"""Rows in memory or on disk, and the order in which batches of them come."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewlabels.views import Views

_READ_AHEAD = 64 << 20  # bytes


@dataclass
class Batch:
    """What one step learns from.

    Attributes
    ----------
    labeled : Tensor
        Stored samples: uint8 images (batch, height, width, channels), or float vectors (batch, features).
    targets : Tensor
        Class index of each, (batch,), or class probabilities, (batch, classes).
    weights : Tensor or None
        Weight of each labeled sample's loss, (batch,).
    unlabeled : Tensor or None
        Stored samples of the pool.
    views : Views
        Makes random views of them.
    progress : float
        Share of the stage that is done, in [0, 1).
    labeled_rows, unlabeled_rows : Tensor or None
        Which of the labeled and of the pool samples they are, int64, (batch,).
    pool_passes : int
        How often each pool sample goes forward and backward in the step; a loss that takes several views says so.
    admitted : Tensor or None
        Mean weight of the pool samples' guesses in the step, a scalar in [0, 1]; a loss with a threshold says so.
    """

    labeled: Tensor
    targets: Tensor
    weights: Tensor | None
    unlabeled: Tensor | None
    views: Views
    progress: float
    labeled_rows: Tensor | None = None
    unlabeled_rows: Tensor | None = None
    pool_passes: int = 1
    admitted: Tensor | None = None


class Rows:
    """Samples of several sources in a row, read a batch at a time; nothing is copied whole.

    Parameters
    ----------
    sources : sequence of array-like
        Each with `len`, `shape` and indexing by an integer array that gives a NumPy array: arrays,
        memory maps, `fewlabels.data.ImageRows`.
    """

    def __init__(self, sources: Sequence[Any]) -> None:
        flat = [part for source in sources for part in (source.sources if isinstance(source, Rows) else [source])]
        self.sources: list[Any] = [source for source in flat if len(source)]
        self.starts = np.cumsum([0] + [len(source) for source in self.sources])
        self._resident: Tensor | None = None

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, of at least one source."""
        return tuple(self.sources[0].shape[1:])

    def take(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the rows asked for, in that order, as a tensor on `device`."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(device)]
        if len(self.sources) == 1:
            values = np.asarray(self.sources[0][rows])
        else:
            which = np.searchsorted(self.starts, rows, side="right") - 1
            parts = {int(i): np.asarray(self.sources[i][rows[which == i] - self.starts[i]]) for i in np.unique(which)}
            first = next(iter(parts.values()))
            values = np.empty((len(rows), *first.shape[1:]), first.dtype)
            for index, part in parts.items():
                values[which == index] = part
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    def keep_on(self, device: torch.device) -> None:
        """Copy all rows to a device once, so that batches are drawn there."""
        self._resident = self.take(np.arange(len(self)), device) if len(self) else None

    def nbytes(self) -> int:
        """Return how much memory all rows take as they are stored."""
        if not len(self):
            return 0
        one = np.asarray(self.sources[0][:1])
        return one.nbytes * len(self)

    def chunks(self, size: int, device: torch.device) -> Iterator[Tensor]:
        """Yield all rows in order, at most `size` at a time; memory-mapped files do not stay in memory."""
        read = 0
        for source in self.sources:
            for start in range(0, len(source), size):
                values = np.array(source[start : start + size])
                yield torch.from_numpy(values).to(device)
                read += values.nbytes
                if read > _READ_AHEAD:
                    _release(source)
                    read = 0
            _release(source)

    def sample(self, count: int, device: torch.device) -> Tensor:
        """Return up to `count` rows spread evenly over all."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))
        return self.take(rows, device)


def _release(source: Any) -> None:
    """Let the system have back the pages of a memory-mapped file that were read; they stay in its file cache."""
    for part in getattr(source, "parts", [source]):
        array = getattr(part, "array", part)
        while array is not None and not isinstance(array, np.memmap):
            array = getattr(array, "base", None)
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


class ShuffledRows:
    """Row numbers forever: each row once in every pass, in a new random order.

    A batch always has `batch_size` rows, since batch statistics of a short last batch would be noise; a
    batch may so reach into the next pass, and repeats rows when there are fewer than it holds.

    Parameters
    ----------
    count : int
        Number of rows, at least 1.
    batch_size : int
        Rows in a batch; may be 0.
    generator : numpy.random.Generator
        Draws the orders; several may share one.

    Examples
    --------
    >>> batches = ShuffledRows(3, 2, np.random.default_rng(0))
    >>> sorted(np.concatenate([next(batches) for _ in range(3)]).tolist())
    [0, 0, 1, 1, 2, 2]
    """

    moves = ("_waiting",)

    def __init__(self, count: int, batch_size: int, generator: np.random.Generator) -> None:
        self._count, self._batch_size, self._generator = count, batch_size, generator
        self._waiting = np.empty(0, np.int64)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NDArray[np.int64]:
        while len(self._waiting) < self._batch_size:
            self._waiting = np.concatenate([self._waiting, self._generator.permutation(self._count)])
        batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
        return batch


class Batches:
    """Batches forever, and where they are in the order of the samples.

    Parameters
    ----------
    make : callable
        Makes a batch of what the orders say next.
    views : Views
        Those of the batches.
    generator : numpy.random.Generator
        What the orders are drawn by.
    orders : ShuffledRows
        What `make` takes rows from.

    Examples
    --------
    >>> draws = np.random.default_rng(0)
    >>> rows = ShuffledRows(10, 4, draws)
    >>> from fewlabels.views import VectorViews
    >>> views = VectorViews(torch.Generator().manual_seed(0), scale=torch.ones(1))
    >>> def make():
    ...     chosen = torch.from_numpy(next(rows))
    ...     return Batch(chosen.float().unsqueeze(1), chosen % 2, None, None, views, 0.0)
    >>> len(next(Batches(make, views, draws, rows)).targets)
    4
    """

    moves = ("generator", "orders", "views")

    def __init__(
        self, make: Callable[[], Batch], views: Views, generator: np.random.Generator, *orders: ShuffledRows
    ) -> None:
        self._make, self.views, self.generator, self.orders = make, views, generator, orders

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return self._make()
