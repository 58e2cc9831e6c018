"""`fewlabels methods`: list the methods."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from fewlabels.cli.app import app, screen


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Show this method's settings.", show_default=False)] = None,
) -> None:
    """List the methods, or one method's settings.

    **Example**: `fewlabels methods`, `fewlabels methods uda`
    """
    from dataclasses import fields

    from fewlabels.methods import METHODS, SemiSupervisedClassifier, make_method

    if name is None:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("method", no_wrap=True)
        table.add_column("idea")
        for known, method in METHODS.items():
            table.add_row(known, _idea(method))
        screen.print(table)
        screen.print("settings: fewlabels methods NAME; give them as --set NAME=VALUE", highlight=False)
        return
    method = type(make_method(name))
    shared = {field.name: field.default for field in fields(SemiSupervisedClassifier)}
    own = {field.name: field.default for field in fields(method)}
    # A shared setting stands with the method's own where its default is another.
    special = {key: value for key, value in own.items() if key not in shared or value != shared[key]}
    screen.print(_idea(method), highlight=False)
    for title, settings in (
        ("its own settings", special),
        ("settings of all methods", {key: value for key, value in shared.items() if key not in special}),
        *((f"preset={preset} changes", changes) for preset, changes in method.PRESETS.items()),
    ):
        if settings:
            words = ", ".join(f"{key}={value}" for key, value in settings.items())
            screen.print(f"\n[bold]{title}[/bold]\n{words}", highlight=False)


def _idea(method: type) -> str:
    return (method.__doc__ or "").strip().splitlines()[0]
