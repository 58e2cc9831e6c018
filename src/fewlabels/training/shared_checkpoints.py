"""Checkpoints of a training that several processes share: the first writes and reads them, the others are told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from fewlabels.training.checkpoint import EVERY, Checkpoints
from fewlabels.training.processes import Processes
from fewlabels.training.snapshot import Snapshot
from fewlabels.training.stopping import StopSignals


class SharedCheckpoints(Checkpoints):
    """A folder of the first process, from which all of them continue.

    All stop after the same step, whichever of them Ctrl-C or SIGTERM reaches; elsewhere than in a step a first signal
    waits for the next one.

    Parameters
    ----------
    folder, every
        See `Checkpoints`.
    processes : Processes
        All of which make one and call the same methods.
    """

    def __init__(self, folder: str | Path, processes: Processes, *, every: float = EVERY) -> None:
        self._processes = processes

        def opened() -> dict[str, Any]:
            Checkpoints.__init__(self, folder, every=every)
            return {"training": self.training, "decisions": self._decisions}

        found = processes.first(opened)
        self.signals = StopSignals(forwarded=True)
        if processes.is_first:
            return
        self.folder = Path(folder)
        self.training, self._decisions = found["training"], list(found["decisions"])
        self._number = self.asked = 0
        self._waiting, self._damaged, self._newest = [], [], None

    def describe(self, training: dict[str, Any], conditions: dict[str, Any]) -> None:
        """Say what is trained; a folder that holds another training is refused, in all processes."""
        described = super().describe
        self._processes.first(lambda: described(training, conditions))

    def decided(self, compute: Callable[[], float]) -> float:
        """Return what a measurement came to, the same number in all processes."""
        return super().decided(lambda: float(self._processes.told(compute())))

    def wanted(self) -> tuple[bool, bool]:
        """Say whether any process is to stop, and whether the first wants a checkpoint."""
        due = self._processes.is_first and self.is_due()
        number, due_anywhere = self._processes.largest(self.signals.number or 0, int(due))
        if number:
            self.signals.take(number)
        return bool(number), bool(number or due_anywhere)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Take note of Ctrl-C and SIGTERM, for the steps to look at; see `Checkpoints.stoppable`."""
        with super().stoppable(), self.signals.deferred():
            yield

    def write(self, path: Path, header: dict[str, Any], snapshot: Snapshot) -> bool:
        """Write a checkpoint in the first process; see `Checkpoints.write`."""
        return not self._processes.is_first or super().write(path, header, snapshot)

    def keep(self, number: int, header: dict[str, Any], snapshot: Snapshot) -> None:
        """Take what a stage has ended with, in the first process."""
        if self._processes.is_first:
            super().keep(number, header, snapshot)

    def complete(self) -> None:
        """Write the finished stages, in the first process."""
        if self._processes.is_first:
            super().complete()

    def close(self) -> None:
        """Let go of the folder, in the first process."""
        if self._processes.is_first:
            super().close()

    def finished(self, number: int) -> tuple[dict[str, Any], Snapshot] | None:
        """Return what a stage has ended with, the same in all processes."""
        return self._told(super().finished(number) if self._processes.is_first else None)

    def middle(self, number: int) -> tuple[dict[str, Any], Snapshot] | None:
        """Return the newest checkpoint in the midst of a stage, the same in all processes."""
        return self._told(super().middle(number) if self._processes.is_first else None)

    def _told(self, found: tuple[dict[str, Any], Snapshot] | None) -> tuple[dict[str, Any], Snapshot] | None:
        told = self._processes.told(None if found is None else {"header": found[0], "tree": found[1].tree})
        if told is None:
            return None
        content = b"" if found is None else save({name: t.contiguous() for name, t in found[1].tensors.items()})
        return told["header"], Snapshot(told["tree"], load(self._processes.told_bytes(content)))
