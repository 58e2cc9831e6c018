"""A progress bar: stage, losses, rate and time left; on a terminal, and in a notebook."""

from __future__ import annotations

import html
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fewlabels.storage.screen import new_console, shows_progress
from fewlabels.training.monitor import Event


class ProgressBar:
    """Shows the events of a run, as a context manager: on a terminal, or below the cell of a notebook.

    Where neither is, in a pipe or a file, it shows nothing. Trainings that go on at the same time, whose events have
    `at_once`, get a row each.

    Parameters
    ----------
    title : str
        What is being trained.
    console : rich.console.Console, optional
        Where to draw; standard error when not given, so that output can be piped.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self._console = console or new_console()
        self._cell = _Cell() if self._console.is_jupyter else None
        self._shown = self._cell is not None or shows_progress(self._console)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._rows: dict[int, TaskID] = {}
        self._stage_began: dict[TaskID, float] = {}
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

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if not self._shown:
            return
        row = self._row(event)
        stages = f" {event['stage_number']}/{event['stage_count']}" if event["stage_count"] > 1 else ""
        description = f"{event.get('title', self.title)}{stages} {event['stage']}"
        figures = ""
        if event["step"] == 0:
            self._stage_began[row] = event["seconds"]
        else:
            seconds = max(event["seconds"] - self._stage_began.get(row, 0.0), 1e-9)
            figures = f"loss {event['loss']:.3f}  {event['step'] / seconds:.1f} steps/s" if "loss" in event else ""
            if "validation_accuracy" in event:
                figures += f"  validation {event['validation_accuracy']:.1%}"
        if self._cell is not None:
            self._cell.show(description, figures, event["step"], event["steps"])
            return
        # Drawing begins with the first event, so that what is printed before (or an error) stands alone.
        self._progress.start()
        self._started = True
        if event["step"] == 0:
            self._progress.reset(row, total=event["steps"], description=description, figures="")
        else:
            self._progress.update(
                row, total=event["steps"], completed=event["step"], description=description, figures=figures
            )

    def _row(self, event: Event) -> TaskID:
        """Return the row of a training: of its own only while others go on beside it."""
        key = event["run"] if event.get("at_once") else 0
        if key not in self._rows:
            done = [run for run, row in self._rows.items() if self._progress.tasks[row].finished]
            self._rows[key] = (
                self._rows.pop(done[0]) if done else self._progress.add_task(self.title, total=None, figures="")
            )
        return self._rows[key]


class _Cell:
    """A bar of plain HTML below a notebook's cell; it needs no widgets, and stays when the notebook is saved."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, description: str, figures: str, step: int, steps: int) -> None:
        from IPython.display import HTML, display

        text = html.escape(f"{description}  {step:,}/{steps:,}  {figures}")
        shown = HTML(f'<progress value="{step}" max="{steps}" style="width: 16em"></progress> <code>{text}</code>')
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
