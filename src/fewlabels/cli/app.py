"""The application that the commands join, and where they print."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

import fewlabels
from fewlabels.storage.screen import is_plain, new_console, shows_progress
from fewlabels.storage.visible import visible

app = typer.Typer(
    name="fewlabels",
    help="Learn an image classifier from **a few labeled and many unlabeled images**, and know how far to trust it."
    "\n\nStart with `fewlabels compare`: it trains four methods on a small data set that is built in and writes a "
    "report. Then give it your own images: `fewlabels compare my-photos --labels-per-class 20`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Names of files and folders may have brackets and colons, which mean nothing.
screen = new_console(stderr=False, soft_wrap=True, markup=False, emoji=False)
errors = new_console(soft_wrap=True, markup=False, emoji=False)


def tell(text: str, style: str | None = None) -> None:
    """Print a line of the answer; whatever names are in it, nothing hidden or meant for the terminal is printed."""
    screen.print(visible(text), style=style, highlight=False)


def note(text: str) -> None:
    """Print on standard error what a person may want to know, as `tell` does."""
    errors.print(visible(text), style="dim", highlight=False)


def warn(text: str) -> None:
    """Print on standard error what a person should look at, as `tell` does."""
    errors.print(visible(text), style="yellow", highlight=False)


@contextlib.contextmanager
def starting(quiet: bool = False, library: str = "torch") -> Iterator[None]:
    """Say on a terminal that the command starts, while what it needs is imported: PyTorch alone takes seconds.

    What is imported stays, and is not looked through for garbage, which would be a quarter of the time.

    Parameters
    ----------
    quiet : bool
        Say nothing.
    library : str
        What takes the time; once it is imported, there is nothing to wait for.
    """
    if library in sys.modules:
        yield
        return
    # Of several processes, the first alone speaks on `screen`.
    silent = quiet or screen.quiet or errors.quiet or not shows_progress(errors)
    gc.disable()
    try:
        with contextlib.nullcontext() if silent else errors.status("starting"):
            yield
    finally:
        gc.freeze()
        gc.enable()


def _tell_version(asked: bool) -> None:
    if asked:
        tell(f"fewlabels {fewlabels.__version__}")
        raise typer.Exit


@app.callback()
def _of_all_commands(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    del version


if is_plain():
    # Of the pages that --help prints.
    from typer import rich_utils

    rich_utils.FORCE_TERMINAL = False
