"""`fewlabels evaluate`: measure a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, note, screen, starting, warn
from fewlabels.cli.options import Fold, Json, Labels, Model, Quiet, Strict, TestPerClass
from fewlabels.cli.shown import show_dataset
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import is_hub_address
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import enumeration, were

_MOST_NAMED = 10


@app.command()
@answers
def evaluate(
    model: Model,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder, file or known data set (see fewlabels fit --help); the one that the model learned from "
            "when not given.",
            show_default=False,
            autocompletion=completion.source,
        ),
    ] = None,
    test_per_class: TestPerClass = None,
    labels: Labels = None,
    fold: Fold = None,
    net: Annotated[str | None, typer.Option(help="The pretrained net, where it was code of your own.")] = None,
    strict: Strict = False,
    card: Annotated[
        bool, typer.Option("--card", help="Write what was measured into the model's card and description.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Measure a saved model on the test images of a source.

    **Examples**

    `fewlabels evaluate model my-photos`

    `fewlabels evaluate model digits --json`

    `fewlabels evaluate model my-photos --card` — the card tells it from now on
    """
    with starting(quiet):
        from fewlabels.data import load_dataset
        from fewlabels.evaluation import evaluate_model
        from fewlabels.methods import load
        from fewlabels.methods.card import measurement
        from fewlabels.methods.origin import (
            as_read_by,
            how_to_read,
            is_source_of,
            labels_of,
            origin_of,
            place_of,
            remembered,
        )
        from fewlabels.methods.saved import add_measurement

    if card and is_hub_address(model):
        raise InputError(f"{model} is on the Hub, where no card can be written to; pull it first")
    loaded = load(model, net=net)
    if loaded.image_shape_ is None:
        raise InputError(f"{model} classifies vectors; evaluate it in Python with its score method")
    place = place_of(loaded, source)
    if place is None:
        raise InputError(f"{model} does not say what it learned from; give the SOURCE to measure it on")
    given: Any = labels
    lost = None
    if given is None and is_source_of(loaded, place):
        # Where classes have folders they are not needed: that they are gone is then no fault.
        given = labels_of(loaded, place)
        lost = origin_of(loaded).get("labels") if given is None else None
    with remembered(place if source is None else None), _naming_lost_labels(lost):
        data = load_dataset(
            **how_to_read(loaded, place),
            test_per_class=test_per_class,
            labels=given,
            fold=fold,
            strict=strict,
            progress=not quiet,
        )
    data = as_read_by(loaded, data)
    show_dataset(data, quiet=quiet, labels=given)
    found = evaluate_model(loaded, data)
    if untested := found["untested_classes"]:
        note(f"note: no test image is of {_named(untested)}, of which the figures say nothing")
    if unknown := found["unknown_images"]:
        others = "" if found["known_accuracy"] is None else f"; of the others {found['known_accuracy']:.1%} are right"
        warn(
            f"warning: {unknown:,} of the {found['test_images']:,} test images are of "
            f"{_named(found['unknown_classes'])}, which the model has not learned, and count as mistakes{others}"
        )
    if seen := found["seen_images"]:
        warn(
            f"warning: {seen:,} of the {found['test_images']:,} test images are among the labeled ones that the model "
            "was fitted on, so its figures are too good; a folder test/ in the source keeps images apart for good"
        )
    unwritten = None
    try:
        if card and not add_measurement(model, measurement(data.name, found)):
            warn(f"{model}/README.md was changed by hand and stays as it is; config.json holds the figures")
    except OSError as error:
        unwritten = error
    return Answer(lambda: found, lambda: _show(found, model, place), unwritten=unwritten)


def _named(classes: list[str]) -> str:
    return enumeration([visible(name) for name in classes], most=_MOST_NAMED)


@contextlib.contextmanager
def _naming_lost_labels(lost: Any) -> Iterator[None]:
    """Have an error say that the labels which a model was fitted with are gone, where it may come from that."""
    try:
        yield
    except InputError as error:
        if lost is None:
            raise
        raise InputError(f"{error}; the model was fitted with {lost}, which is not here") from error


def _show(found: dict[str, Any], model: Path, source: str) -> None:
    table = Table(title=visible(f"{model} on the test images of {source}"))
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_row(
        "test accuracy",
        f"{found['test_accuracy']:.1%}  (95 %: {found['test_low']:.1%} to {found['test_high']:.1%})",
    )
    table.add_row("balanced accuracy", f"{found['balanced_accuracy']:.1%}")
    trust = found["trust"]
    table.add_row("calibration error", f"{trust['calibration_error']:.1%}")
    table.add_row("Brier score", f"{trust['brier_score']:.3f}")
    for sets in trust["sets"]:
        kept = f"{sets['kept']:.1%} kept, {sets['mean_size']:.2f} classes a set"
        if sets["held_out"] < sets["needed"]:
            kept = f"all classes: {were(sets['held_out'], 'image')} held out, {sets['needed']} needed"
        table.add_row(f"sets that promise {sets['promised']:.0%}", kept)
    table.add_row("test images", f"{found['test_images']:,}")
    if found["unknown_images"]:
        table.add_row("… of classes that it has not learned", f"{found['unknown_images']:,}")
    if found["seen_images"]:
        table.add_row("… that it was fitted on", f"{found['seen_images']:,}")
    screen.print(table)
