"""`fewlabels export`: write a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, note, starting, tell
from fewlabels.cli.options import Json, Model, Net
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import is_hub_address


@app.command()
@answers
def export(
    model: Model,
    format: Annotated[
        str | None,
        typer.Option(
            help="onnx, or torch: a program of torch.export; as --out ends when not given.",
            autocompletion=completion.one_of("export.deployed", "FORMATS"),
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; beside the model when not given: MODEL.onnx, MODEL.pt2.")
    ] = None,
    net: Net = None,
    as_json: Json = False,
) -> Answer:
    """Write a model as one file for other programs: from uint8 images to calibrated probabilities.

    **Examples**

    `fewlabels export model`

    `fewlabels export model --out classifier.pt2`
    """
    with starting():
        from fewlabels.export.deployed import FORMATS, export_model
        from fewlabels.methods import load
        from fewlabels.methods.origin import on_features

    if out is None and is_hub_address(model):
        raise InputError(f"give --out: there is no place beside {model} to write to")
    place = model if model.name not in ("", "..") else model.resolve()
    if out is None:
        format = format or "onnx"
        out = place.with_name(place.name + FORMATS.get(format, ""))
    loaded = load(model, net=net)
    written = export_model(loaded, out, format=format)
    if on_features(loaded):
        made_by = loaded.backbone_facts_.net
        note(f"note: it reads features of {made_by}, not images: that net is not exported")
    kind = format or next(name for name, ending in FORMATS.items() if written.suffix.lower() == ending)
    size = written.stat().st_size
    return Answer(
        lambda: {"file": written, "format": kind, "bytes": size},
        lambda: tell(f"{written}: {_in_units(size)}"),
    )


def _in_units(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
