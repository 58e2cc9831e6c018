"""Several processes that train one net together: who they are, and what they agree on.

Every process runs the same code on the same whole batch, and so comes to the same losses, thresholds and averages. Only
what is expensive is divided: a net's layers see a share of a batch's rows in each process (`training/shares.py`), and
the gradients that come of it are averaged here. So a method needs no word about processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from fewlabels.storage.errors import InputError, ToldError
from fewlabels.storage.launch import Launch

_Result = TypeVar("_Result")
# As long as whatever one process does alone may take: reading a data set, writing a checkpoint to a slow disk.
_PATIENCE = timedelta(minutes=60)
# For the others to start.
_JOINING = timedelta(minutes=10)


class LostProcess(InputError):
    """Another of the processes has ended, so that this one cannot go on either."""


class Processes:
    """The processes of a process group of `torch.distributed`, as one of them sees them.

    All of them call the same methods in the same order; each call waits for the others.

    Attributes
    ----------
    rank : int
        Number of this one, from 0.
    count : int
        How many there are, at least 2.
    within_share : bool
        Whether a net is at work on this process's rows (see `fewlabels.training.shares`).

    Raises
    ------
    InputError
        If the process group sends between GPUs alone: what is decided is decided on the hosts.
    """

    def __init__(self) -> None:
        self._group = torch.distributed
        if self._group.get_backend() == self._group.Backend.NCCL:
            raise InputError(
                "the process group was made for GPUs alone; make it by "
                "torch.distributed.init_process_group('cpu:gloo,cuda:nccl')"
            )
        self.rank, self.count = self._group.get_rank(), self._group.get_world_size()
        # Without a launcher all are taken to be on one host.
        self._local_rank = Launch.read({"LOCAL_RANK": str(self.rank), **os.environ}).local_rank
        self.within_share = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Nets carry it, and are copied.
        return self

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and speaks to people."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """Return where this process computes: of a host's GPUs each process has its own.

        Raises
        ------
        InputError
            If a host has fewer GPUs than processes.
        """
        if chosen.type != "cuda" or chosen.index is not None:
            return chosen
        local, gpus = self._local_rank, torch.cuda.device_count()
        if local >= gpus:
            raise InputError(
                f"process {local} of this host has no GPU of its own ({gpus} here); start as many processes as there "
                "are GPUs, or give device='cpu'"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place, and return it."""
        with _lost_ones():
            self._group.all_reduce(values)
        return values

    def stacked(self, values: Tensor) -> Tensor:
        """Return the tensors of all processes, each of this one's shape, (count, *shape)."""
        values = values.contiguous()
        found = values.new_empty(self.count, *values.shape)
        with _lost_ones():
            self._group.all_gather(list(found.unbind(0)), values)
        return found

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place, all of a type in one message."""
        kinds = {gradient.dtype for gradient in gradients}
        for kind in sorted(kinds, key=str):
            some = [gradient for gradient in gradients if gradient.dtype == kind]
            flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in some])).div_(self.count)
            means = [mean.view(gradient.shape) for gradient, mean in zip(some, _cut(flat, some), strict=True)]
            torch._foreach_copy_(some, means)

    def largest(self, *values: int) -> list[int]:
        """Return the largest of each number over all processes."""
        found = torch.tensor(values)
        with _lost_ones():
            self._group.all_reduce(found, self._group.ReduceOp.MAX)
        return [int(value) for value in found]

    def told(self, value: Any) -> Any:
        """Return what the first process has given, a value as JSON has it."""
        return json.loads(self.told_bytes(json.dumps(value).encode() if self.is_first else b""))

    def told_bytes(self, content: bytes) -> bytes:
        """Return the bytes that the first process has given."""
        with _lost_ones():
            length = torch.tensor(len(content))
            self._group.broadcast(length, 0)
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8) if self.is_first and content else None
            found = torch.empty(int(length), dtype=torch.uint8) if sent is None else sent
            self._group.broadcast(found, 0)
        return found.numpy().tobytes()

    def same_weights(self, nets: nn.Module) -> None:
        """Give nets the weights of the first process, so that other machines' last bits do not add up."""
        with _lost_ones():
            for value in nets.state_dict().values():
                held = value.detach().contiguous()
                self._group.broadcast(held, 0)
                if held.data_ptr() != value.data_ptr():
                    value.copy_(held)

    def clock(self) -> float:
        """Return the first process's `time.perf_counter`: whatever depends on time is then decided alike."""
        return float(self.told(time.perf_counter()))

    def first(self, compute: Callable[[], _Result]) -> _Result:
        """Return what comes out in the first process, a value as JSON has it, or raise its InputError everywhere."""
        return self.told(self._without_error(compute, turn=self.is_first))  # type: ignore[no-any-return]

    def by_turns(self, compute: Callable[[], _Result]) -> _Result:
        """Return what comes out here: one process of each host goes first, and the others find what it has written.

        Raises
        ------
        InputError
            In all of them, if one cannot do it.
        """
        goes_first = self._local_rank == 0
        early = self._without_error(compute, turn=goes_first)
        late = self._without_error(compute, turn=not goes_first)
        return early if goes_first else late  # type: ignore[return-value]

    def agreed(self, value: str) -> None:
        """Raise an InputError in all processes where a text is not the same in all."""
        held = self.told(value)
        (others,) = self.largest(0 if held == value else self.rank)
        if others:
            raise InputError(
                f"process {others} was given other data or settings than process 0; give all of them the same"
            )

    def _without_error(self, compute: Callable[[], _Result], *, turn: bool) -> _Result | None:
        """Return what comes out, None if it is not this one's turn; an InputError of one is raised by all."""
        result, error = None, None
        if turn:
            try:
                result = compute()
            except InputError as found:
                error = found
        (number,) = self.largest(0 if error is None else self.count - self.rank)
        if number:
            message = self._from(self.count - number, str(error))
            raise ToldError(message) if error is None else error
        return result

    def _from(self, rank: int, text: str) -> str:
        """Return a text of one process in all."""
        content = text.encode() if self.rank == rank else b""
        (length,) = self.largest(len(content))
        found = torch.zeros(length, dtype=torch.uint8)
        if content:
            found.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        with _lost_ones():
            self._group.broadcast(found, rank)
        return found.numpy().tobytes().decode()


def current() -> Processes | None:
    """Return the processes that work together, None where there is one alone.

    Examples
    --------
    >>> current() is None
    True
    """
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_world_size() > 1:
        return Processes()
    return None


def first(processes: Processes | None, compute: Callable[[], _Result]) -> _Result:
    """Return what comes out in the first process; see `Processes.first`."""
    return compute() if processes is None else processes.first(compute)


def by_turns(processes: Processes | None, compute: Callable[[], _Result]) -> _Result:
    """Return what comes out here, after the first process of this host; see `Processes.by_turns`."""
    return compute() if processes is None else processes.by_turns(compute)


@contextlib.contextmanager
def joined() -> Iterator[Processes | None]:
    """Join the processes that a launcher has started, for as long as the block lasts; None where it started none.

    On the host messages go by gloo, between GPUs by NCCL.

    Raises
    ------
    InputError
        If the environment does not say where the others are, or they cannot be reached.

    Examples
    --------
    >>> with joined() as processes:
    ...     processes is None
    True
    """
    launch = Launch.read()
    if not launch.is_one_of_several:
        yield None
        return
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise InputError(
                f"WORLD_SIZE={launch.count} in the environment says that there are other processes, and no {name} is "
                "there; start by torchrun, or unset WORLD_SIZE"
            )
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    group = torch.distributed
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _lost_ones():
        store, rank, count = next(rendezvous("env://", timeout=_JOINING))
        if launch.shares_store:
            # It outlives the processes: addresses that those before a restart have left there lead nowhere.
            store = PrefixStore(f"start {launch.restarts}", store)
        group.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield Processes()
    finally:
        group.destroy_process_group()


@contextlib.contextmanager
def _lost_ones() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise LostProcess(
            f"another of the processes has ended or cannot be reached ({reason}); with --resume, the same command goes "
            "on from the last checkpoint"
        ) from error


def _cut(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.split(flat, [tensor.numel() for tensor in like]))
