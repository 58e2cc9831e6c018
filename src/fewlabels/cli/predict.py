"""`fewlabels predict`: classify image files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, starting, tell
from fewlabels.cli.options import Json, Model, Quiet, Strict
from fewlabels.cli.shown import show_left_out


@app.command()
@answers
def predict(
    model: Model,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders (searched through).")],
    out: Annotated[Path | None, typer.Option(help="A .csv or .parquet file; the screen when not given.")] = None,
    net: Annotated[str | None, typer.Option(help="The pretrained net, where it was code of your own.")] = None,
    strict: Strict = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Classify image files: one row each with file, class and probability.

    **Examples**

    `fewlabels predict model holiday.jpg`

    `fewlabels predict model new-photos/ --out classes.csv`
    """
    with starting(quiet):
        from fewlabels.export import check_place, predict_files, write_predictions
        from fewlabels.methods import load

    if out is not None:
        check_place(out)
    predictions = predict_files(load(model, net=net), images, strict=strict, progress=not quiet)
    show_left_out(predictions.skipped)
    unwritten = None
    if out is not None:
        try:
            write_predictions(predictions, out)
        except OSError as error:
            unwritten, out = error, None

    def show() -> None:
        if out is None:
            write_predictions(predictions, None)
        else:
            tell(f"{len(predictions.paths):,} images classified in {out}")

    return Answer(lambda: {**predictions.to_dict(), "out": out}, show, unwritten=unwritten)
