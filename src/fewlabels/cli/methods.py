"""`fewlabels methods`: list the methods."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, screen, tell
from fewlabels.cli.options import Json
from fewlabels.cli.source_code import check_methods, ideas_of_methods


@app.command()
@answers
def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show this method's settings.",
            show_default=False,
            autocompletion=completion.one_of("methods.registry", "_ALL"),
        ),
    ] = None,
    as_json: Json = False,
) -> Answer:
    """List the methods, or one method's settings.

    **Example**: `fewlabels methods`, `fewlabels methods uda`
    """
    ideas = ideas_of_methods()
    if name is None:
        return Answer(
            lambda: {"methods": [{"name": known, "idea": idea} for known, idea in ideas.items()]},
            lambda: _show_ideas(ideas),
        )

    check_methods(name)
    from dataclasses import fields

    from fewlabels.methods import SemiSupervisedClassifier, make_method, method_name

    method = type(make_method(name))
    shared = {field.name: field.default for field in fields(SemiSupervisedClassifier)}
    own = {field.name: field.default for field in fields(method)}
    # A shared setting stands with the method's own where its default is another.
    special = {key: value for key, value in own.items() if key not in shared or value != shared[key]}
    facts = {
        "name": method_name(method),
        "idea": ideas[method_name(method)],
        "settings": special,
        "shared_settings": {key: value for key, value in shared.items() if key not in special},
        "presets": method.PRESETS,
    }
    return Answer(lambda: facts, lambda: _show_settings(facts))


def _show_ideas(ideas: dict[str, str]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("method", no_wrap=True)
    table.add_column("idea")
    for known, idea in ideas.items():
        table.add_row(known, idea)
    screen.print(table)
    tell("settings: fewlabels methods NAME; give them as --set NAME=VALUE")


def _show_settings(facts: dict[str, Any]) -> None:
    tell(facts["idea"])
    for title, settings in (
        ("its own settings", facts["settings"]),
        ("settings of all methods", facts["shared_settings"]),
        *((f"preset={preset} changes", changes) for preset, changes in facts["presets"].items()),
    ):
        if settings:
            words = ", ".join(f"{key}={value}" for key, value in settings.items())
            tell("")
            tell(title, "bold")
            tell(words)
