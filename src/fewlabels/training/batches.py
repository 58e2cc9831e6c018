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

from fewlabels.data.rows import StackedRows
from fewlabels.data.streamed import StreamedRows
from fewlabels.views import Views

_READ_AHEAD = 64 << 20  # bytes
# Blocks of a streamed pool that a sample of it is taken from.
_SPREAD = 8


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
        Stored samples of the pool; `pool` where they are sure to be there.
    views : Views
        Makes random views of them.
    progress : float
        Share of the stage that is done, in [0, 1).
    labeled_rows, unlabeled_rows : Tensor or None
        Which of the labeled and of the pool samples they are, int64, (batch,).
    labeled_passes, pool_passes : int
        How often each labeled and each pool sample goes forward and backward in the step; a loss that takes several
        views says so.
    admitted : Tensor or None
        Mean weight of the pool samples' guesses in the step, a scalar in [0, 1]; a loss with a threshold says so.
    sized_by : str
        The method's setting that says how many samples there are.
    """

    labeled: Tensor
    targets: Tensor
    weights: Tensor | None
    unlabeled: Tensor | None
    views: Views
    progress: float
    labeled_rows: Tensor | None = None
    unlabeled_rows: Tensor | None = None
    labeled_passes: int = 1
    pool_passes: int = 1
    admitted: Tensor | None = None
    sized_by: str = "batch_size"

    @property
    def pool(self) -> Tensor:
        """Stored samples of the pool, of a batch that has some, as `pool_loss` gets it."""
        if self.unlabeled is None:
            raise ValueError("the batch has no pool samples")
        return self.unlabeled


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
        self.sources: list[Any] = [part for source in flat for part in _apart(source) if len(part)]
        self.starts = np.cumsum([0] + [len(source) for source in self.sources])
        self._resident: Tensor | None = None

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def windows(self) -> list[NDArray[np.int64]] | None:
        """Where some rows are read in blocks: of each source its blocks' first rows and their end; None elsewhere."""
        if not any(_is_streamed(source) for source in self.sources):
            return None
        return [
            start + (source.starts if _is_streamed(source) else np.array([0, len(source)]))
            for source, start in zip(self.sources, self.starts[:-1], strict=True)
        ]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, of at least one source."""
        return tuple(self.sources[0].shape[1:])

    def take(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the rows asked for, in that order, as a tensor on `device`."""
        if self._resident is not None:
            resident = self._resident
            return resident[torch.from_numpy(rows).to(resident.device)].to(device)
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
        """Copy all rows to a device once, so that batches are drawn there; not those that are read in blocks."""
        if len(self) and self.windows is None:
            self._resident = self.take(np.arange(len(self)), device)

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
        """Return up to `count` rows spread evenly over all; of rows that are read in blocks, over a few blocks."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))
        if (windows := self.windows) is not None:
            rows = _spread(windows, count)
        return self.take(rows, device)

    def drawn(
        self, count: int, generator: np.random.Generator, members: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return `count` rows chosen at random, sorted; of rows that are read in blocks, those of as few as that takes.

        Parameters
        ----------
        count : int
            At most as many as there are to choose from are returned.
        generator : numpy.random.Generator
            Draws them.
        members : ndarray of int, optional
            Rows to choose from, sorted; all when not given.
        """
        members = np.arange(len(self)) if members is None else members
        if (windows := self.windows) is None:
            return np.sort(generator.permutation(members)[:count])
        begins = np.concatenate([starts[:-1] for starts in windows])
        block = np.searchsorted(begins, members, side="right") - 1
        places = generator.permutation(len(begins))
        return np.sort(members[np.argsort(places[block], kind="stable")][:count])


class _SomeRows:
    """Some rows of others, as a source."""

    def __init__(self, rows: Rows, chosen: NDArray[np.int64]) -> None:
        self._rows, self._chosen = rows, chosen
        # What they are read from, for memory-mapped files to be let go of.
        self.parts = [part for source in rows.sources for part in getattr(source, "parts", [source])]

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._rows.sample_shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self._rows.take(self._chosen[index], torch.device("cpu")).numpy()


def some_rows(rows: Rows, chosen: NDArray[np.int64]) -> Rows:
    """Return some rows, sorted, to be read a batch at a time; all of them are the rows themselves.

    Examples
    --------
    >>> rows = some_rows(Rows([np.array([[1.0], [2.0], [3.0]])]), np.array([0, 2]))
    >>> [chunk.tolist() for chunk in rows.chunks(2, torch.device("cpu"))]
    [[[1.0], [3.0]]]
    """
    return rows if len(chosen) == len(rows) else Rows([_SomeRows(rows, chosen)])


def _is_streamed(source: Any) -> bool:
    return isinstance(source, StreamedRows) and source.rows is None


def _apart(source: Any) -> list[Any]:
    """Return the parts of stacked rows that are read in blocks, which they would hide."""
    parts = source.parts if isinstance(source, StackedRows) and source.rows is None else []
    return list(parts) if any(map(_is_streamed, parts)) else [source]


def _spread(windows: list[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """Return rows of a few blocks of each source, as many of each source as its share."""
    total = int(windows[-1][-1] - windows[0][0])
    chosen = []
    for starts in windows:
        blocks = np.unique(np.linspace(0, len(starts) - 2, min(_SPREAD, len(starts) - 1)).astype(np.int64))
        wanted = max(1, round(count * int(starts[-1] - starts[0]) / total / len(blocks)))
        for block in blocks:
            rows = int(starts[block + 1] - starts[block])
            chosen.append(starts[block] + np.linspace(0, rows - 1, min(wanted, rows)).astype(np.int64))
    return np.unique(np.concatenate(chosen))[: max(count, 1)]


def _release(source: Any) -> None:
    """Let the system have back the pages of a memory-mapped file that were read; they stay in its file cache."""
    for part in getattr(source, "parts", [source]):
        array = getattr(part, "array", part)
        while array is not None and not isinstance(array, np.memmap):
            array = getattr(array, "base", None)
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def pool_part(ratio: float, batch_size: int) -> int:
    """Return how many pool samples a batch has for its labeled ones: at least two, whose statistics can be told.

    Examples
    --------
    >>> pool_part(2.0, 128), pool_part(0.1, 8)
    (256, 2)
    """
    return max(2, round(ratio * batch_size))


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

    moves: tuple[str, ...] = ("_waiting",)

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


class WindowedRows(ShuffledRows):
    """Row numbers forever, for rows that are read in blocks: each once in every pass, shuffled in windows of blocks.

    The blocks come in a new random order in each pass; those of a window are near each other in time, and their rows
    are in a random order. What is kept of the order is as small as a window.

    Parameters
    ----------
    windows : list of ndarray of int
        See `Rows.windows`.
    blocks : int
        How many blocks a window has, at least 1.
    batch_size : int
        Rows in a batch; may be 0.
    generator : numpy.random.Generator
        Draws the orders.
    members : ndarray of int, optional
        The rows to draw from, sorted; all when not given.

    Examples
    --------
    >>> rows = WindowedRows([np.array([0, 3, 6, 9])], 1, 3, np.random.default_rng(0))
    >>> found = [next(rows) for _ in range(3)]
    >>> [len(set(batch // 3)) for batch in found], sorted(np.concatenate(found).tolist())
    ([1, 1, 1], [0, 1, 2, 3, 4, 5, 6, 7, 8])
    """

    moves = ("_waiting", "_left")

    def __init__(
        self,
        windows: list[NDArray[np.int64]],
        blocks: int,
        batch_size: int,
        generator: np.random.Generator,
        members: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(int(windows[-1][-1]), batch_size, generator)
        self._begins = np.concatenate([starts[:-1] for starts in windows])
        self._ends = np.concatenate([starts[1:] for starts in windows])
        self._blocks, self._members = blocks, members
        self._left = np.empty(0, np.int64)

    def __next__(self) -> NDArray[np.int64]:
        while len(self._waiting) < self._batch_size:
            if not len(self._left):
                self._left = self._generator.permutation(len(self._begins))
            now, self._left = self._left[: self._blocks], self._left[self._blocks :]
            rows = np.concatenate([self._rows(block) for block in now])
            self._waiting = np.concatenate([self._waiting, self._generator.permutation(rows)])
        batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
        return batch

    def _rows(self, block: int) -> NDArray[np.int64]:
        begin, end = int(self._begins[block]), int(self._ends[block])
        if self._members is None:
            return np.arange(begin, end)
        first, last = np.searchsorted(self._members, [begin, end])
        return self._members[first:last]


def pool_order(
    rows: Rows, members: NDArray[np.int64] | None, batch_size: int, generator: np.random.Generator
) -> ShuffledRows:
    """Return the order in which batches of a pool come; its numbers are rows where `members` are not given.

    Parameters
    ----------
    rows : Rows
        The pool.
    members : ndarray of int or None
        Rows to draw from, sorted. Where the pool is not read in blocks, the order counts through them.
    batch_size : int
        Rows in a batch; may be 0.
    generator : numpy.random.Generator
        Draws the order.
    """
    windows = rows.windows
    if windows is None:
        return ShuffledRows(max(len(rows) if members is None else len(members), 1), batch_size, generator)
    blocks = min(source.window for source in rows.sources if _is_streamed(source))
    return WindowedRows(windows, blocks, batch_size, generator, members)


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
