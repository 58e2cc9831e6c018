"""`fewlabels serve`: a page to classify and label images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli import completion
from fewlabels.cli.app import app, note, starting, tell, warn
from fewlabels.cli.options import split
from fewlabels.cli.shown import show_dataset, show_notes
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import is_hub_address


@app.command()
def serve(
    model: Annotated[
        Path,
        typer.Argument(
            help="A model folder that `fit` or `compare` wrote; with --source also a new one, for a first model.",
            autocompletion=completion.model,
        ),
    ] = Path("model"),
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets everybody in who reaches this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.", min=0, max=65535)] = 7860,
    source: Annotated[
        str | None,
        typer.Option(
            help="Where the images to label are; where the model was fitted, when not given.",
            autocompletion=completion.source,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="The CSV file that labels are added to; that of the fit, or MODEL-labels.csv."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="What the images of --source are of, with commas between, where no class folders tell; more can be "
            "added on the page.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Before there is a model: how long to train the first one, 2m when not given; the later ones train as "
            "long.",
            show_default=False,
        ),
    ] = None,
    net: Annotated[
        str | None,
        typer.Option(
            help="The pretrained net, where it was code of your own; before there is a model, the one to learn with "
            "(see `fewlabels fit --help`)."
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Serve a page that classifies images, and takes labels for those that help most.

    With --source and a MODEL folder that is not there yet, it begins with labels: of the images that stand for most
    others first, and the page trains the first model. Classes that no folders tell can be named with --classes or on
    the page.

    **Examples**

    `fewlabels serve model`

    `fewlabels serve my-model --source my-photos` — no model yet, and no labels

    `fewlabels serve model --port 8000 --no-open`
    """
    with starting():
        from fewlabels.data.decode import SOUND_PILLOW, pillow_is_sound
        from fewlabels.serving.server import is_local, open_browser, require_gradio
        from fewlabels.serving.server import serve as serve_page
        from fewlabels.serving.service import Service
        from fewlabels.serving.training import begins
        from fewlabels.storage.model_folder import read_description

    if is_hub_address(model):
        raise InputError(f"{model} is on the Hub; pull it first, so that labels and new models have a place")
    # Gradio alone takes seconds to import: what can be told without it is told before.
    begin = begins(model, source)
    if not begin:
        read_description(model)
    named = split(classes or "")
    with starting(library="gradio"):
        require_gradio()

    def ready(address: str) -> None:
        tell(f"serving {model} at {address} (Ctrl-C ends it)")
        if open_page:
            open_browser(address)

    if not is_local(host):
        warn(
            f"warning: listening on {host}, everybody who reaches this machine can open the page, label and train; "
            "there is no password"
        )
    if not pillow_is_sound():
        warn(
            "warning: Gradio asks for a Pillow below 13, which damaged images can crash or worse; once they are "
            f"installed, it works with a newer one: pip install --no-deps 'pillow>={SOUND_PILLOW}'"
        )
    service = Service(model, source=source, labels=labels, net=net, progress=True, classes=named, budget=budget)
    if budget is not None and not begin:
        note("note: --budget is that of a first model; this one trains as it did")
    if service.desk is None:
        note(f"note: no labeling tab: {service.reason}")
    else:
        show_notes(service.desk.notes)
        show_dataset(service.desk.data, quiet=True)
        tell(f"labels go to {service.desk.path}")
    serve_page(service, host=host, port=port, ready=ready)
    more = ""
    if service.desk is not None and service.broke_off:
        more = f"; the training that ran is lost, its labels are in {service.desk.path}"
    tell(f"stopped{more}", "dim")
