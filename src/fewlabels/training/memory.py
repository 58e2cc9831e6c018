"""Memory that is used again in each step rather than asked from the system anew, and what fits into it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1
# The most that glibc's thresholds come to by themselves; before 2.35 it takes no larger one for `mmap`.
_OWN_MMAP, _OWN_TRIM = 32 << 20, 64 << 20
# What PyTorch's allocator says on a CPU, and oneDNN, which computes convolutions there.
_NO_MEMORY = ("allocate memory", "could not create a primitive", "could not create a memory object")


@contextlib.contextmanager
def reused_memory() -> Iterator[None]:
    """Keep what a training step frees for the next step, and give it back in the end.

    By default glibc returns large blocks to the system as soon as they are freed. Every step of a training
    on the CPU allocates the same hundreds of megabytes, and the system zeroes and maps each page again, which
    took a fifth of the step (`docs/performance.md`). Elsewhere than on glibc this does nothing. Trainings that
    overlap, one within the other or in threads, give it back when the last has ended.

    Examples
    --------
    >>> with reused_memory():
    ...     pass
    """
    library = _glibc()
    if library is None:
        yield
        return
    with _KEEPING.lock:
        _KEEPING.trainings += 1
        _keep_up_to(library, _MOST, _MOST)
    try:
        yield
    finally:
        with _KEEPING.lock:
            _KEEPING.trainings -= 1
            if not _KEEPING.trainings:
                _keep_up_to(library, _OWN_MMAP, _OWN_TRIM)
                library.malloc_trim(0)


@dataclass
class _Keeping:
    """How many trainings of this process keep what they free: the thresholds are the process's."""

    trainings: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_KEEPING = _Keeping()


def _keep_up_to(library: ctypes.CDLL, block: int, free: int) -> None:
    """Let freed blocks up to a size be kept for what comes next, and so many bytes of them."""
    # Any threshold that is set ends glibc's own raising of both: a block size that is refused has to be made good.
    if not library.mallopt(_M_MMAP_THRESHOLD, block):
        library.mallopt(_M_MMAP_THRESHOLD, _OWN_MMAP)
    library.mallopt(_M_TRIM_THRESHOLD, free)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):  # Windows has no library of that kind
        return None


def ran_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that there is no memory left, on a GPU or on the host.

    Examples
    --------
    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(ValueError())
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def too_large(batch: Batch, step: Callable[[Batch], object] | None) -> InputError:
    """Return the error that says by trial which part of a batch would fit into memory.

    Parameters
    ----------
    batch : Batch
        Does not fit.
    step : callable or None
        Does with a batch what needs the memory; None where no trial can be made.
    """
    labeled, pool = len(batch.labeled), 0 if batch.unlabeled is None else len(batch.unlabeled)
    what = f"a step of {labeled} labeled and {pool} pool samples does not fit into memory"
    share = 0.5
    while step is not None and int(share * (labeled or pool)) >= 2:
        give_back()
        try:
            step(_part(batch, share))
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            share /= 2
            continue
        fits = int(share * (labeled or pool))
        smaller = f"one of {int(share * labeled)} and {int(share * pool)} does"
        return InputError(f"{what}; {smaller}: set {batch.sized_by}={fits}")
    again = f"{batch.sized_by}={max(2, (labeled or pool) // 4)}"
    if step is None:
        return InputError(f"{what} of one of the processes; begin again with {again}, or more processes")
    return InputError(
        f"{what}, and nor did smaller ones after it; begin again with {again}, or a smaller net or images"
    )


class InPartsThatFit:
    """Asks a net for the outputs of a batch: at once where memory allows, else in halves, quarters and so on.

    What has once been too much is not tried again.

    Parameters
    ----------
    ask : callable
        From samples, (n, …), to outputs, (n, …), each from its sample alone.

    Raises
    ------
    InputError
        If not even one sample fits.

    Examples
    --------
    >>> def ask(samples):
    ...     if len(samples) > 3:
    ...         raise MemoryError
    ...     return 2 * samples
    >>> InPartsThatFit(ask)(torch.arange(5)).tolist()
    [0, 2, 4, 6, 8]
    """

    def __init__(self, ask: Callable[[Tensor], Tensor]) -> None:
        self._ask = ask
        self._most: int | None = None

    def __call__(self, samples: Tensor) -> Tensor:
        """Return the outputs of all samples."""
        found: list[Tensor] = []
        start = 0
        while start < len(samples):
            part = samples[start : start + (self._most or len(samples))]
            fits = True
            try:
                found.append(self._ask(part))
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                fits = False
            if fits:
                start += len(part)
                continue
            if len(part) == 1:
                raise InputError(
                    f"not even one sample of shape {tuple(part.shape[1:])} fits through the net into what memory is "
                    "left; close other programs, or take a smaller net or smaller images"
                )
            self._most = (len(part) + 1) // 2
            give_back()
        return found[0] if len(found) == 1 else torch.cat(found)


def give_back() -> None:
    """Return what was freed to the system, where other parts of PyTorch may ask for it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _part(batch: Batch, share: float) -> Batch:
    labeled = int(share * len(batch.labeled))
    pool = None if batch.unlabeled is None else int(share * len(batch.unlabeled))
    return replace(
        batch,
        labeled=batch.labeled[:labeled],
        targets=batch.targets[:labeled],
        weights=None if batch.weights is None else batch.weights[:labeled],
        labeled_rows=None if batch.labeled_rows is None else batch.labeled_rows[:labeled],
        unlabeled=None if batch.unlabeled is None else batch.unlabeled[:pool],
        unlabeled_rows=None if batch.unlabeled_rows is None else batch.unlabeled_rows[:pool],
    )
