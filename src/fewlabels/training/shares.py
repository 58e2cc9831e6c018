"""A net's layers divided by rows: each process computes its share of a batch, and all get the whole result.

The rows of process r are r, r + count, r + 2 count, ... of whatever goes through an encoder or a decoder. What comes
out is gathered, so that all that follows (heads, losses, thresholds, mixtures) sees the whole batch in every process.

Gradients: what all have carries the true gradient in each. Within a share it is taken times `count`, so that the mean
over the processes is right both for weights that saw a share, of which each process has a part of the gradient, and for
those that saw everything, of which each has the whole.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from fewlabels.training.device import seed_generators
from fewlabels.training.processes import Processes
from fewlabels.training.synchronized import SynchronizedStatistics


class SharedRows:
    """Divides the encoders and decoders of nets, and of copies of them, until `release`.

    Parameters
    ----------
    processes : Processes
        Among which the rows are divided.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._divided: weakref.WeakSet[_Divided] = weakref.WeakSet()

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedRows:
        return self

    def divide(self, nets: nn.Module) -> None:
        """Divide whatever module of `nets` names methods in `row_by_row`; those that are divided stay as they are."""
        for module in nets.modules():
            for name in getattr(module, "row_by_row", ()):
                # Without weights there is nothing that takes time.
                if name not in vars(module) and any(True for _ in module.parameters()):
                    self.put(module, name)

    def put(self, module: nn.Module, name: str) -> None:
        """Let a module's method work on a share."""
        divided = _Divided(self, module, name)
        self._divided.add(divided)
        setattr(module, name, divided)

    def release(self) -> None:
        """Leave all modules as they were."""
        for divided in list(self._divided):
            divided.remove()


class _Divided:
    """A method of a module that is given a whole batch and computes a share of it."""

    def __init__(self, rows: SharedRows, module: nn.Module, name: str) -> None:
        self._rows, self._module, self._name = rows, module, name

    def __deepcopy__(self, memo: dict[int, Any]) -> _Divided:
        # The module is being copied, and its copy known already.
        copied = _Divided(self._rows, memo[id(self._module)], self._name)
        self._rows._divided.add(copied)
        return copied

    def remove(self) -> None:
        """Give the module its own method back."""
        vars(self._module).pop(self._name, None)

    def __call__(self, whole: Tensor) -> Tensor:
        own_method = getattr(type(self._module), self._name)
        processes = self._rows.processes
        # Fewer rows than processes are not worth dividing: every one computes them all, and the means are right too.
        if processes.within_share or len(whole) < processes.count:
            return own_method(self._module, whole)  # type: ignore[no-any-return]
        processes.within_share = True
        try:
            with SynchronizedStatistics(processes), _own_draws(processes, self._module):
                own = own_method(self._module, take(whole, processes))
        finally:
            processes.within_share = False
        return gather(own, len(whole), processes)


def take(whole: Tensor, processes: Processes) -> Tensor:
    """Return this process's rows of what all have, with a gradient that all get."""
    if whole.requires_grad and torch.is_grad_enabled():
        return cast(Tensor, _Take.apply(whole, processes))  # type: ignore[no-untyped-call]
    return _own(whole, processes)


def gather(own: Tensor, rows: int, processes: Processes) -> Tensor:
    """Return all rows, so many, of what each process has its own of."""
    return cast(Tensor, _Gather.apply(own, rows, processes))  # type: ignore[no-untyped-call]


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, processes: Processes) -> Tensor:
        ctx.rows, ctx.processes = len(whole), processes
        return _own(whole, processes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _gathered(gradients[0], ctx.rows, ctx.processes) / ctx.processes.count, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: int, processes: Processes) -> Tensor:
        ctx.processes = processes
        return _gathered(own, rows, processes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _own(gradients[0], ctx.processes) * ctx.processes.count, None, None


def _own(whole: Tensor, processes: Processes) -> Tensor:
    own = whole[processes.rank :: processes.count]
    last = whole.ndim == 4 and whole.is_contiguous(memory_format=torch.channels_last)
    return own.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _gathered(own: Tensor, rows: int, processes: Processes) -> Tensor:
    # Images lie with their channels last in memory, and stay so.
    own = own.movedim(1, -1) if own.ndim == 4 else own
    most = -(-rows // processes.count)
    if len(own) < most:
        own = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])])
    whole = processes.stacked(own).transpose(0, 1).flatten(0, 1)[:rows]
    return whole.movedim(-1, 1) if whole.ndim == 4 else whole


@contextlib.contextmanager
def _own_draws(processes: Processes, module: nn.Module) -> Iterator[None]:
    """Let dropout within a share draw apart in each process, and leave the common generator alike in all."""
    if not (module.training and any(_draws(part) for part in module.modules())):
        yield
        return
    seed = int(torch.randint(2**62, ()))
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_generators(device, seed + processes.rank)
        yield


def _draws(module: nn.Module) -> bool:
    share = getattr(module, "p", getattr(module, "drop_prob", 0.0))
    return "drop" in type(module).__name__.lower() and bool(share)
