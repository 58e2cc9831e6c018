"""`fewlabels compare`: train several methods and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, errors, screen, starting, tell, warn
from fewlabels.cli.options import (
    Budget,
    CheckpointEvery,
    Epochs,
    Fold,
    ImageSize,
    Json,
    Labels,
    Net,
    Preset,
    Quiet,
    Resume,
    Set,
    Source,
    Steps,
    Strict,
    TestPerClass,
    Track,
    beside_the_file,
    parse_settings,
    split,
    whole,
)
from fewlabels.cli.shown import show_notes
from fewlabels.cli.source_code import check_methods
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import counted, percentage, seconds

# Characters of a method's name that always have room, and those between two columns.
_NAME, _GAP = 12, 3


@app.command()
@answers
def compare(
    source: Source = "digits",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated names, or all; four when not given (see `fewlabels methods`).",
            autocompletion=completion.several_of("methods.registry", "_ALL", "all"),
        ),
    ] = None,
    rungs: Annotated[
        str | None,
        typer.Option(
            help="Compare rungs of the ladder instead: probe,features,finetune,scratch, or all possible.",
            autocompletion=completion.several_of("methods.rungs", "RUNGS", "all"),
        ),
    ] = None,
    net: Net = None,
    labels_per_class: Annotated[
        str | None,
        typer.Option(help="Labels of each class to learn from, the rest joins the pool; several: 10,50,500."),
    ] = None,
    labels: Labels = None,
    seeds: Annotated[int, typer.Option(help="Repeat with so many draws of labels and initial weights.", min=1)] = 1,
    vary: Annotated[
        str,
        typer.Option(
            help="What differs from seed to seed: some of labels,weights,order.",
            autocompletion=completion.several_of("evaluation.conditions", "VARIED"),
        ),
    ] = "labels,weights,order",
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    image_size: ImageSize = None,
    preset: Preset = "auto",
    test_per_class: TestPerClass = None,
    fold: Fold = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for everything of the run; a new one when not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = 60.0,
    strict: Strict = False,
    settings: Set = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=[A,B]",
            help="Try these values of a setting and take the best on held-out labeled images.",
            callback=beside_the_file,
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Look for leaks and traps in the data first.")] = True,
    track: Track = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where to train: `local`, one training after the other; or `ray`, side by side on a Ray cluster.",
            autocompletion=completion.words("local", "ray"),
        ),
    ] = "local",
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Train several methods on the same images and say which is best, and how surely.

    Writes the models, all figures and `report.html` into one folder, and prints the table.

    **Examples**

    `fewlabels compare` — four methods on the embedded digits

    `fewlabels compare my-photos --labels-per-class 20 --seeds 3`

    `fewlabels compare cifar10:cifar-10-python.tar.gz --methods supervised,self-training --budget 2m`

    `fewlabels compare my-photos --rungs probe,finetune,scratch --net hf:facebook/dinov2-small --labels-per-class 10`
    """
    names = None if methods is None else split(methods)
    if names not in (None, ["all"]):
        check_methods(*names)
    with starting(quiet):
        from fewlabels.report import compare as run_comparison
        from fewlabels.training.progress import ProgressBar

    bar = None if quiet else ProgressBar("fewlabels", errors)
    try:
        comparison = run_comparison(
            source,
            methods=names,
            rungs=None if rungs is None else split(rungs),
            net=net,
            labels_per_class=None if labels_per_class is None else [whole(n) for n in split(labels_per_class)],
            labels=labels,
            seeds=seeds,
            vary=split(vary),
            steps=steps,
            epochs=epochs,
            budget=budget,
            image_size=image_size,
            preset=preset,
            test_per_class=test_per_class,
            fold=fold,
            out=out,
            overwrite=overwrite,
            resume=resume,
            checkpoint_every=checkpoint_every,
            strict=strict,
            check=check,
            settings=parse_settings(settings),
            choose=parse_settings(choose, "--choose") or None,
            observer=bar,
            track=track,
            progress=not quiet,
            engine=engine,
        )
    finally:
        if bar is not None:
            bar.stop()
    _show_data(list(comparison.config["data"].values()), quiet, labels)
    return Answer(
        lambda: {
            **comparison.to_dict(),
            "folder": comparison.folder,
            "report": Path(comparison.folder or "") / "report.html",
        },
        lambda: _show_comparison(comparison),
    )


def _show_data(draws: list[dict[str, Any]], quiet: bool, labels: str | None) -> None:
    show_notes(dict.fromkeys(note for draw in draws for note in draw["notes"]), quiet=quiet, labels=labels)
    if skipped := max((draw["skipped"] for draw in draws), default=0):
        warn(f"left out {counted(skipped, 'unreadable file')}: `fewlabels check` names them")


def _make_room(columns: dict[str, list[str]]) -> None:
    """Take out what is least asked for where a narrow screen has no room for names beside it; the report has all."""
    for heading in ("seconds", "train", "valid."):
        figures = sum(_width(*column) + _GAP for column in columns.items() if column[0] != "method")
        if _NAME + figures + _GAP > screen.width:
            del columns[heading]


def _width(heading: str, cells: list[str]) -> int:
    return max(map(len, (heading, *cells)))


def _show_comparison(comparison: Any) -> None:
    # Loads PyTorch, which has been loaded by now.
    from fewlabels.evaluation.verdicts import labels_text

    rows = comparison.table()
    sizes = {row["labels_per_class"] for row in rows}
    for finding in (comparison.config.get("check") or {}).get("findings", ()):
        if finding["severity"] != "note":
            tell(f"{finding['severity']}: {finding['text']}.", "yellow")
    columns: dict[str, list[str]] = {"method": [row["method"] for row in rows]}
    if len(sizes) > 1:
        columns["labels"] = ["all" if row["labels_per_class"] is None else str(row["labels_per_class"]) for row in rows]
    if len({row["seed"] for row in rows}) > 1:
        columns["seed"] = [str(row["seed"]) for row in rows]
    for heading, key in (("train", "train_accuracy"), ("valid.", "validation_accuracy"), ("test", "test_accuracy")):
        columns[heading] = [percentage(row[key]) for row in rows]
    columns["95 %"] = [f"{percentage(row['test_low'])}–{percentage(row['test_high'])}" for row in rows]
    columns["seconds"] = [seconds(row["fit_seconds"]) for row in rows]
    first = comparison.groups[0]
    labels = "" if len(sizes) > 1 else f" {labels_text(first.labels_per_class, first.labels_given)}"
    _make_room(columns)
    table = Table(
        title=visible(f"{comparison.config['source']}{labels}: accuracy in %"),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading, cells in columns.items():
        if heading == "method":
            table.add_column(heading, overflow="fold", min_width=_NAME)
            continue
        # On a narrow screen the names are folded: figures are never cut.
        style = "bold" if heading == "test" else ""
        table.add_column(heading, justify="right", no_wrap=True, min_width=_width(heading, cells), style=style)
    for row_cells in zip(*columns.values(), strict=True):
        table.add_row(*row_cells)
    screen.print(table)
    for sentence in comparison.verdicts():
        tell(sentence)
    tell(f"report: {comparison.folder / 'report.html'}", "bold")
