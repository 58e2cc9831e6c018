"""`fewlabels pull`: fetch a model from the Hugging Face Hub."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, tell
from fewlabels.cli.options import Json, Quiet, Revision


@app.command()
@answers
def pull(
    name: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; NAME when not given.")] = None,
    revision: Revision = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Fetch a model from the Hugging Face Hub, checked as `load` checks it.

    Other commands but `serve` take `hub:OWNER/NAME` in place of a model folder and keep it in the Hub's cache.

    **Examples**

    `fewlabels pull jane/birds --out model`

    `fewlabels predict hub:jane/birds new-photos/`
    """
    from fewlabels.methods.published import pull as pull_model

    folder = pull_model(name, out, revision=revision, progress=not quiet)

    def show() -> None:
        tell(f"model in {folder}")
        if not quiet:
            words = shlex.join(["fewlabels", "predict", str(folder), "IMAGES"])
            tell(f"next: {words}", "dim")

    return Answer(lambda: {"model": folder}, show)
