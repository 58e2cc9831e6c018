"""`fewlabels export`: write a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli.app import app, screen
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import is_hub_address


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model folder that `fit` or `compare` wrote.")],
    format: Annotated[str, typer.Option(help="onnx, or torch: a program of torch.export.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The file to write; beside the model when not given: MODEL.onnx, MODEL.pt2.")
    ] = None,
) -> None:
    """Write a model as one file for other programs: from uint8 images to calibrated probabilities.

    **Examples**

    `fewlabels export model`

    `fewlabels export model --format torch --out classifier.pt2`
    """
    from fewlabels.export.deployed import FORMATS, export_model
    from fewlabels.methods import load

    if out is None and is_hub_address(model):
        raise InputError(f"give --out: there is no place beside {model} to write to")
    target = model.with_name(model.name + FORMATS.get(format, "")) if out is None else out
    written = export_model(load(model), target, format=format)
    screen.print(f"{written}: {written.stat().st_size / 1e6:,.1f} MB", highlight=False)
