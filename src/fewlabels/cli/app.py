"""The application that the commands join, and where they print."""

from __future__ import annotations

import typer

from fewlabels.storage.screen import is_plain, new_console

app = typer.Typer(
    name="fewlabels",
    help="Learn an image classifier from **a few labeled and many unlabeled images**, and know how far to trust it."
    "\n\nStart with `fewlabels compare`: it trains every method on a small data set that is built in and writes a "
    "report. Then give it your own images: `fewlabels compare my-photos --labels-per-class 20`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
screen = new_console(stderr=False, soft_wrap=True)
errors = new_console(soft_wrap=True)
if is_plain():
    # Of the pages that --help prints.
    from typer import rich_utils

    rich_utils.FORCE_TERMINAL = False
