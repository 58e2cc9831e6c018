"""Where to compute, in which precision, and whether in the same way each time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from fewlabels.storage.errors import InputError


def choose_device(device: str) -> torch.device:
    """Return the device for "auto" (CUDA where there is one, else the CPU) or for a device's name.

    Apple's MPS is not among them: it has no double precision, in which means, spreads and the whitening of the first
    layer are computed.

    Raises
    ------
    InputError
        If there is no such device, or nothing can be learned on it.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if chosen.type == "mps":
            raise InputError("device 'mps' has no double precision, which is needed; use 'cpu'")
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} is not available here; use 'auto' or 'cpu'") from error
    return chosen


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed the generators that PyTorch itself draws from on the CPU and on a device, and those of no other device.

    `torch.manual_seed` seeds those of every GPU, and what else computes there would go on by them.

    Examples
    --------
    >>> seed_generators(torch.device("cpu"), 3)
    >>> first = torch.rand(2)
    >>> torch.equal(first, torch.rand(2, generator=torch.Generator().manual_seed(3)))
    True
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def has_room(device: torch.device, nbytes: int) -> bool:
    """Say whether data of that size may be kept on a device: a GPU with four times as much memory free.

    Examples
    --------
    >>> has_room(torch.device("cpu"), 1)  # it is in this memory already, or on disk to spare it
    False
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * nbytes <= free


@contextlib.contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Use only operations that give the same bits each time, where that is wanted; what was set before comes back.

    On the CPU nothing changes: there they do. A GPU adds in any order where it is faster; with this it does not, at
    some cost, and an operation that has no such form is refused by PyTorch with an error that names it.

    Examples
    --------
    >>> with deterministic_algorithms(True):
    ...     torch.are_deterministic_algorithms_enabled()
    True
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # cuBLAS reads it when it is first used: of its ways to work, those with a fixed workspace repeat themselves.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
    """Make new tensors float32, whatever PyTorch's default is; what was set before comes back.

    Examples
    --------
    >>> with single_precision():
    ...     torch.zeros(1).dtype
    torch.float32
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def gradients() -> Iterator[None]:
    """Let gradients be computed, and nothing be cast, whatever is around: `no_grad`, `inference_mode` or `autocast`.

    Examples
    --------
    >>> with torch.no_grad(), gradients():
    ...     torch.is_grad_enabled()
    True
    """
    with contextlib.ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            modes.enter_context(torch.autocast(kind, enabled=False))
        yield
