"""`fewlabels embed`: keep the features of images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers, keeping
from fewlabels.cli.app import app, starting, tell, warn
from fewlabels.cli.options import ImageSize, Json, Quiet, Source, Strict


@app.command()
@answers
def embed(
    source: Source = "digits",
    net: Annotated[
        str,
        typer.Option(
            help="See `fewlabels fit --help`.",
            autocompletion=completion.words("hf:", "timm:", "model:", "python:"),
        ),
    ] = "hf:facebook/dinov2-small",
    out: Annotated[Path, typer.Option(help="Folder for the features.")] = Path("features"),
    views: Annotated[
        int, typer.Option(help="Views of each image: as it is, and shifted and mirrored ones.", min=1)
    ] = 1,
    image_size: ImageSize = None,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda.", autocompletion=completion.words("auto", "cpu", "cuda")),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other features in --out.")] = False,
    strict: Strict = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Put all images through a pretrained net once and keep the features: then every method trains in seconds.

    A stopped run goes on where it was. The folder is a SOURCE for the other commands.

    **Examples**

    `fewlabels embed my-photos --net hf:facebook/dinov2-small --out features`

    `fewlabels fit features --method label-spreading --out model`
    """
    with starting(quiet):
        from fewlabels.data.features import are_unfinished
        from fewlabels.methods import embed as embed_images

    kept = f"the features that were made are kept in {out}, and the same command goes on with the others"
    with keeping(lambda: kept if are_unfinished(out) else None):
        written = embed_images(
            source,
            net,
            out,
            views=views,
            image_size=image_size,
            device=device,
            overwrite=overwrite,
            strict=strict,
            progress=not quiet,
        )
    if written.warning:
        warn(f"warning: {written.warning}")
    facts = {
        "folder": written.folder,
        "images": written.images,
        "was_there": written.was_there,
        "net": written.backbone.net,
        "trained_on": written.backbone.trained_on,
        "warning": written.warning,
    }
    return Answer(lambda: facts, lambda: _show(written, quiet))


def _show(written: Any, quiet: bool) -> None:
    there = "were there already" if written.was_there else "are written"
    tell(f"features of {written.images:,} images {there} in {written.folder}")
    tell(f"{written.backbone.net} was trained on {written.backbone.trained_on}")
    if not quiet:
        folder = shlex.quote(str(written.folder))
        tell(f"next: fewlabels fit {folder} --method ensemble-labels", "dim")
