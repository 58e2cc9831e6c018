"""What a comparison asks of whoever watches its trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from fewlabels.evaluation.run import Run
from fewlabels.training.monitor import Event


class WatchedRun(Protocol):
    """An observer of one training that is entered, and left with the error that ended it, if one did."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def __call__(self, event: Event) -> None:
        """Take note of an event."""

    def conclude(self, run: Run, class_names: Sequence[str]) -> None:
        """Take note of what was measured when training was done."""


@runtime_checkable
class Watching(Protocol):
    """Begins to watch trainings."""

    def begin(
        self, folder: Path, name: str, *, settings: Mapping[str, Any], facts: Mapping[str, Any], resumed: bool
    ) -> WatchedRun:
        """Return what watches the training of that name in the comparison of that folder."""
