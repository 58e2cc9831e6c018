"""Where people read: a terminal in color, or plain text without a code in it."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def is_plain() -> bool:
    """Say whether the environment asks for text without codes: `NO_COLOR` is set, or `TERM` is dumb."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def standard_output() -> TextIO:
    """Return where a program reads an answer.

    Raises
    ------
    OSError
        If it was closed before the command began.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    return sys.stdout


def new_console(*, stderr: bool = True, **options: Any) -> Console:
    r"""Return where to print; into a pipe, a file or where the environment asks for that, plain text.

    Parameters
    ----------
    stderr : bool
        Standard error, so that what is printed on standard output can be piped.
    **options
        Of `rich.console.Console`.

    Examples
    --------
    >>> import io
    >>> text = io.StringIO()
    >>> new_console(file=text).print("[bold red]leak[/]")
    >>> text.getvalue()
    'leak\n'
    """
    if os.environ.get("COLUMNS") == "0":  # what does not know its width says so
        options = {"width": 80, **options}
    return Console(stderr=stderr, force_terminal=False if is_plain() else None, **options)


def shows_progress(console: Console) -> bool:
    """Say whether a bar can move there: on a terminal, or in a notebook that has widgets.

    Examples
    --------
    >>> import io
    >>> shows_progress(new_console(file=io.StringIO()))
    False
    """
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    # Where color is asked for, a file counts as a terminal to Rich.
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def new_bar(*columns: str | ProgressColumn, shown: bool) -> Progress:
    """Return a progress bar on standard error that is drawn if that is asked for, and where it can move.

    Parameters
    ----------
    *columns
        Of `rich.progress.Progress`.
    shown : bool
        Whether to draw it.
    """
    console = new_console()
    return Progress(*columns, console=console, disable=not (shown and shows_progress(console)))


def new_counting_bar(*, shown: bool) -> Progress:
    """Return a progress bar that counts what is done, and tells how long the rest will take; see `new_bar`."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    return new_bar(*columns, TimeRemainingColumn(compact=True), shown=shown)
