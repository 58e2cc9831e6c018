"""A progress bar: stage, losses, rate and time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fewlabels.training.monitor import Event, Observer


class ProgressBar:
    """Shows the events of a run on a terminal, as a context manager.

    Parameters
    ----------
    title : str
        What is being trained.
    console : rich.console.Console, optional
        Where to draw; standard error when not given, so that output can be piped.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=console or Console(stderr=True),
        )
        self._task = self._progress.add_task(title, total=None, figures="")
        self._stage_began = 0.0
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        if self._started:
            self._progress.stop()

    def joined(self, observer: Observer | None) -> Observer:
        """Return an observer that shows each event and passes it on."""

        def tell(event: Event) -> None:
            self(event)
            if observer is not None:
                observer(event)

        return tell

    def __call__(self, event: Event) -> None:
        """Show an event."""
        stages = f" {event['stage_number']}/{event['stage_count']}" if event["stage_count"] > 1 else ""
        description = f"{event.get('title', self.title)}{stages} {event['stage']}"
        # Drawing begins with the first event, so that what is printed before (or an error) stands alone.
        self._progress.start()
        self._started = True
        if event["step"] == 0:
            self._progress.reset(self._task, total=event["steps"], description=description, figures="")
            self._stage_began = event["seconds"]
            return
        seconds = max(event["seconds"] - self._stage_began, 1e-9)
        figures = f"loss {event['loss']:.3f}  {event['step'] / seconds:.1f} steps/s" if "loss" in event else ""
        if "validation_accuracy" in event:
            figures += f"  validation {event['validation_accuracy']:.1%}"
        self._progress.update(self._task, completed=event["step"], description=description, figures=figures)
