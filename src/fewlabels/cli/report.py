"""`fewlabels report`: the page of a comparison, anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, tell
from fewlabels.cli.options import Json
from fewlabels.storage.errors import InputError


def _there(folder: Path) -> Path:
    # What reads comparisons says the same, seconds later.
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that `fewlabels compare --out` wrote")
    return folder


@app.command()
@answers
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `compare` wrote.", callback=_there)],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; `report.html` in the folder when not given.")
    ] = None,
    as_json: Json = False,
) -> Answer:
    """Write the report of a comparison anew, from what its folder keeps; nothing is trained.

    **Examples**

    `fewlabels report runs/photos`

    `fewlabels report runs/photos --out photos.html`
    """
    if out is not None and out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file, such as {out / 'report.html'}")
    from fewlabels.evaluation import read_comparison
    from fewlabels.report import write_report

    written = write_report(read_comparison(folder), folder / "report.html" if out is None else out)
    return Answer(lambda: {"report": written}, lambda: tell(f"report: {written}", "bold"))
