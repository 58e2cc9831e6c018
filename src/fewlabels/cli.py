"""The command line: each command a few lines over the public API."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from fewlabels.config_file import read_config
from fewlabels.storage.errors import InputError, Interrupted, TrainingWarning
from fewlabels.storage.visible import visible

app = typer.Typer(
    name="fewlabels",
    help="Learn an image classifier from **a few labeled and many unlabeled images**, and know how far to trust it."
    "\n\nStart with `fewlabels compare`: it trains every method on a small data set that is built in and writes a "
    "report. Then give it your own images: `fewlabels compare my-photos --labels-per-class 20`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Typer brings Click's exceptions under its own name; this is the one all usage errors derive from.
_UsageError: Any = typer.BadParameter.__mro__[1]
_INTERRUPTED = 130
_STOPPED = "stopped; nothing was written"
_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)

_SOURCE_HELP = (
    "A data set's name (see `fewlabels datasets`), a folder of images (train/CLASS/…, unlabeled/, test/CLASS/…), "
    "a Parquet file or folder in the Hugging Face layout, or an .npz file."
)
Source = Annotated[str, typer.Argument(help=_SOURCE_HELP, show_default=True)]
Steps = Annotated[int | None, typer.Option(help="Optimizer steps of each training.", rich_help_panel="Length (one of)")]
Epochs = Annotated[
    float | None,
    typer.Option(help="Passes over the labeled images instead.", rich_help_panel="Length (one of)"),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Time for each method instead: 90s, 2m, 1h30m; or gradient images: 500k images.",
        rich_help_panel="Length (one of)",
    ),
]
Preset = Annotated[
    str,
    typer.Option(help="`default`, or `notebook`: the nets and training that the project began with, mended."),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Resize images to this many pixels a side. Without it: their own size up to 64 px, else 32. "
        "Twice the size is four times the work."
    ),
]
TestPerClass = Annotated[int | None, typer.Option(help="Test on the first so many images of each class.")]
Fold = Annotated[int | None, typer.Option(help="stl10 only: one of its ten official folds, 0 to 9.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image instead of leaving it out.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another setting of the method (see `fewlabels methods`)."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where the same command was stopped; from the beginning if it was not."),
]
CheckpointEvery = Annotated[float, typer.Option(help="Seconds between checkpoints of a training.", min=0)]
Net = Annotated[
    str | None,
    typer.Option(
        help="A pretrained net: hf:NAME_OR_FOLDER (Hugging Face transformers), timm:NAME, or "
        "python:FILE_OR_MODULE:FUNCTION."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, only results and errors.")]


@app.command()
def compare(
    source: Source = "digits",
    methods: Annotated[
        str | None, typer.Option(help="Comma-separated names, or all; four when not given (see `fewlabels methods`).")
    ] = None,
    rungs: Annotated[
        str | None,
        typer.Option(help="Compare rungs of the ladder instead: probe,features,finetune,scratch, or all possible."),
    ] = None,
    net: Net = None,
    labels_per_class: Annotated[
        str | None,
        typer.Option(help="Labels of each class to learn from, the rest joins the pool; several: 10,50,500."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Repeat with so many draws of labels and initial weights.", min=1)] = 1,
    vary: Annotated[
        str, typer.Option(help="What differs from seed to seed: some of labels,weights,order.")
    ] = "labels,weights,order",
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    image_size: ImageSize = None,
    preset: Preset = "default",
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
            metavar="NAME=[A,B]", help="Try these values of a setting and take the best on held-out labeled images."
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Look for leaks and traps in the data first.")] = True,
    quiet: Quiet = False,
) -> None:
    """Train several methods on the same images and say which is best, and how surely.

    Writes the models, all figures and `report.html` into one folder, and prints the table.

    **Examples**

    `fewlabels compare` — four methods on the embedded digits

    `fewlabels compare my-photos --labels-per-class 20 --seeds 3`

    `fewlabels compare cifar10:cifar-10-python.tar.gz --methods supervised,self-training --budget 2m`

    `fewlabels compare my-photos --rungs probe,finetune,scratch --net hf:facebook/dinov2-small --labels-per-class 10`
    """
    from fewlabels.report import compare as run_comparison
    from fewlabels.training.progress import ProgressBar

    bar = None if quiet else ProgressBar("fewlabels", _err)
    try:
        comparison = run_comparison(
            source,
            methods=None if methods is None else _split(methods),
            rungs=None if rungs is None else _split(rungs),
            net=net,
            labels_per_class=None if labels_per_class is None else [_whole(n) for n in _split(labels_per_class)],
            seeds=seeds,
            vary=_split(vary),
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
            settings=_parse_settings(settings),
            choose=_parse_settings(choose) or None,
            observer=bar,
            progress=not quiet,
        )
    finally:
        if bar is not None:
            bar.stop()
    _show_comparison(comparison)


@app.command()
def check(
    source: Source = "digits",
    labels_per_class: Annotated[
        int | None, typer.Option(help="Labels of each class to learn from, the rest joins the pool.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the labels drawn.")] = 0,
    image_size: ImageSize = None,
    test_per_class: TestPerClass = None,
    fold: Fold = None,
    near: Annotated[bool, typer.Option(help="Search for near duplicates as well, which takes longest.")] = True,
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Look for leaks and traps in a data set before anything is trained: exit code 1 where there are some.

    Copies and near duplicates between the labeled, validation, test and pool images, copies with different labels,
    classes without an image, parts that look as if they came from elsewhere or were stretched.

    **Examples**

    `fewlabels check my-photos`

    `fewlabels check my-photos --labels-per-class 20 --json`
    """
    from fewlabels.checks import check_dataset
    from fewlabels.data import load_dataset

    data = load_dataset(
        source,
        image_size=image_size,
        labels_per_class=labels_per_class,
        test_per_class=test_per_class,
        random_state=seed,
        fold=fold,
        strict=strict,
        progress=not (quiet or as_json),
    )
    found = check_dataset(data, near=near)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _show_check(found, data)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def fit(
    source: Source = "digits",
    method: Annotated[
        str, typer.Option(help="Which method (see `fewlabels methods`); auto: what the data asks for.")
    ] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("model"),
    labels_per_class: Annotated[
        int | None, typer.Option(help="Labels of each class to learn from; the rest joins the pool.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the labels drawn and the initial weights.")] = 0,
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    image_size: ImageSize = None,
    preset: Preset = "default",
    net: Net = None,
    fold: Fold = None,
    strict: Strict = False,
    settings: Set = None,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = 60.0,
    quiet: Quiet = False,
) -> None:
    """Train one method and save the model.

    As it goes, the training is saved beside the model's folder, and `--resume` continues it.

    **Examples**

    `fewlabels fit my-photos --budget 5m --out model` — the method that the data asks for; says which, and why

    `fewlabels fit digits --method supervised --steps 200 --set label_smoothing=0 --out model`

    `fewlabels fit my-photos --method ensemble-labels --net hf:facebook/dinov2-small --out model`
    """
    from fewlabels.data import load_dataset
    from fewlabels.methods import make_method
    from fewlabels.methods.embedding import own_size, warn_of_leak
    from fewlabels.methods.findings import findings
    from fewlabels.training.checkpoint import checkpoint_beside
    from fewlabels.training.recovery import Diverged

    learner = make_method(
        method,
        preset=preset,
        steps=steps,
        epochs=epochs,
        budget=budget,
        random_state=seed,
        verbose=not quiet,
        **({} if net is None else {"net": net}),
        **_parse_settings(settings),
    )
    learner.check_settings()
    checkpoint = checkpoint_beside(out, resume=resume)
    data = load_dataset(
        source,
        image_size=own_size(source, learner.net) if image_size is None else image_size,
        labels_per_class=labels_per_class,
        random_state=seed,
        fold=fold,
        strict=strict,
        progress=not quiet,
    )
    _show_dataset(data)
    validation = None if data.validation is None else (data.validation, data.validation_labels)
    try:
        learner.fit(
            data.labeled,
            data.labels,
            unlabeled=data.pool,
            validation=validation,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
        )
    except Diverged as error:
        error.name(data.diagnostics.labeled_names, data.diagnostics.pool_names)
        raise
    warn_of_leak(learner, data)
    class_names = [data.class_names[index] for index in learner.classes_]
    learner.save(out, class_names=class_names)
    shutil.rmtree(checkpoint, ignore_errors=True)
    for finding in findings(learner, class_names):
        _out.print(visible(finding), highlight=False, markup=False)
    accuracy = learner.validation_accuracy_
    measured = "" if accuracy != accuracy else f", {accuracy:.1%} on held-out images"
    _out.print(f"model saved in {out}: {learner.fit_seconds_:.0f} s of training{measured}", highlight=False)
    _out.print(f"next: fewlabels evaluate {out} {source}", style="dim", highlight=False)


@app.command()
def embed(
    source: Source = "digits",
    net: Annotated[str, typer.Option(help="See `fewlabels fit --help`.")] = "hf:facebook/dinov2-small",
    out: Annotated[Path, typer.Option(help="Folder for the features.")] = Path("features"),
    views: Annotated[
        int, typer.Option(help="Views of each image: as it is, and shifted and mirrored ones.", min=1)
    ] = 1,
    image_size: ImageSize = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other features in --out.")] = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Put all images through a pretrained net once and keep the features: then every method trains in seconds.

    A stopped run goes on where it was. The folder is a SOURCE for the other commands.

    **Examples**

    `fewlabels embed my-photos --net hf:facebook/dinov2-small --out features`

    `fewlabels fit features --method label-spreading --out model`
    """
    from fewlabels.methods import embed as embed_images

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
    there = "were there already" if written.was_there else "are written"
    _out.print(f"features of {written.images:,} images {there} in {written.folder}", highlight=False)
    _out.print(f"{written.backbone.net} was trained on {written.backbone.trained_on}", highlight=False)
    if written.warning:
        _err.print(f"warning: {written.warning}", style="yellow", highlight=False)
    _out.print(f"next: fewlabels fit {out} --method ensemble-labels", style="dim", highlight=False)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model folder that `fit` or `compare` wrote.")],
    images: Annotated[list[Path], typer.Argument(help="Image files or folders (searched through).")],
    out: Annotated[Path | None, typer.Option(help="A .csv or .parquet file; the screen when not given.")] = None,
    net: Annotated[str | None, typer.Option(help="The pretrained net, where it was code of your own.")] = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Classify image files: one row each with file, class and probability.

    **Examples**

    `fewlabels predict model holiday.jpg`

    `fewlabels predict model new-photos/ --out classes.csv`
    """
    from fewlabels.export import predict_files, write_predictions
    from fewlabels.methods import load

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise InputError(f"--out {out} is neither .csv nor .parquet")
    predictions = predict_files(load(model, net=net), images, strict=strict, progress=not quiet)
    for entry in predictions.skipped:
        line = visible(f"left out {entry.path}: {entry.reason}")
        _err.print(line, style="yellow", highlight=False, markup=False)
    write_predictions(predictions, out)
    if out is not None:
        _out.print(f"{len(predictions.paths):,} images classified in {out}", highlight=False)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model folder that `fit` or `compare` wrote.")],
    source: Source = "digits",
    test_per_class: TestPerClass = None,
    fold: Fold = None,
    net: Annotated[str | None, typer.Option(help="The pretrained net, where it was code of your own.")] = None,
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a saved model on the test images of a source.

    **Examples**

    `fewlabels evaluate model my-photos`

    `fewlabels evaluate model digits --json`
    """
    from fewlabels.data import load_dataset
    from fewlabels.data.features import is_feature_folder
    from fewlabels.evaluation import evaluate_model
    from fewlabels.methods import load

    loaded = load(model, net=net)
    if loaded.image_shape_ is None:
        raise InputError(f"{model} classifies vectors; evaluate it in Python with its score method")
    data = load_dataset(
        source,
        image_size=None if is_feature_folder(Path(source)) else loaded.image_shape_[0],
        test_per_class=test_per_class,
        fold=fold,
        strict=strict,
        progress=not (quiet or as_json),
    )
    found = evaluate_model(loaded, data)
    if as_json:
        print(json.dumps(found))
        return
    table = Table(title=f"{model} on the test images of {source}")
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
            kept = f"all classes: {sets['held_out']} images were held out, {sets['needed']} needed"
        table.add_row(f"sets that promise {sets['promised']:.0%}", kept)
    table.add_row("test images", f"{found['test_images']:,}")
    _out.print(table)


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

    target = model.with_name(model.name + FORMATS.get(format, "")) if out is None else out
    written = export_model(load(model), target, format=format)
    _out.print(f"{written}: {written.stat().st_size / 1e6:,.1f} MB", highlight=False)


@app.command()
def datasets() -> None:
    """List the data sets known by name, and what else SOURCE may be.

    **Example**: `fewlabels datasets`
    """
    from fewlabels.data import list_datasets

    table = Table(title="data sets")
    for heading in ("name", "what", "size", "how to get it"):
        table.add_column(heading)
    for known in list_datasets():
        table.add_row(known.name, known.description, known.size, known.how)
    _out.print(table)
    _out.print(f"SOURCE may also be: {_SOURCE_HELP[0].lower()}{_SOURCE_HELP[1:]}", highlight=False)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Show this method's settings.", show_default=False)] = None,
) -> None:
    """List the methods, or one method's settings.

    **Example**: `fewlabels methods`, `fewlabels methods uda`
    """
    from dataclasses import fields

    from fewlabels.methods import METHODS, SemiSupervisedClassifier, make_method

    if name is None:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("method", no_wrap=True)
        table.add_column("idea")
        for known, method in METHODS.items():
            table.add_row(known, _idea(method))
        _out.print(table)
        _out.print("settings: fewlabels methods NAME; give them as --set NAME=VALUE", highlight=False)
        return
    method = type(make_method(name))
    shared = {field.name: field.default for field in fields(SemiSupervisedClassifier)}
    own = {field.name: field.default for field in fields(method)}
    # A shared setting stands with the method's own where its default is another.
    special = {key: value for key, value in own.items() if key not in shared or value != shared[key]}
    _out.print(_idea(method), highlight=False)
    for title, settings in (
        ("its own settings", special),
        ("settings of all methods", {key: value for key, value in shared.items() if key not in special}),
        *((f"preset={preset} changes", changes) for preset, changes in method.PRESETS.items()),
    ):
        if settings:
            words = ", ".join(f"{key}={value}" for key, value in settings.items())
            _out.print(f"\n[bold]{title}[/bold]\n{words}", highlight=False)


def _idea(method: type) -> str:
    return (method.__doc__ or "").strip().splitlines()[0]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--labels-per-class {text!r} is not a whole number of at least 1; several go as 10,50,500")
    return int(text)


def _parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    settings = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair!r} is not NAME=VALUE")
        words = {"true": True, "false": False, "none": None}
        try:
            value = words[text.lower()] if text.lower() in words else json.loads(text)
        except ValueError:
            value = text
        settings[name.strip().replace("-", "_")] = value
    return settings


def _show_dataset(data: Any) -> None:
    for note in data.notes:
        _err.print(visible(f"note: {note}"), style="dim", highlight=False, markup=False)
    if data.skipped:
        first = data.skipped[0]
        line = f"left out {len(data.skipped):,} unreadable files, the first: {first.path} ({first.reason})"
        _err.print(visible(line), style="yellow", highlight=False, markup=False)


def _show_check(found: Any, data: Any) -> None:
    _show_dataset(data)
    parts = ", ".join(f"{count:,} {name}" for name, count in found.images.items())
    _out.print(f"{data.source}: {parts} images looked at in {found.seconds:.0f} s", highlight=False)
    for finding in found.findings:
        style = {"leak": "bold red", "trap": "yellow"}.get(finding.severity, "dim")
        _out.print(f"{finding.severity}: ", style=style, end="")
        _out.print(f"{finding.text}.", highlight=False, markup=False)
        for pair in finding.examples:
            _out.print("    " + " = ".join(pair), style="dim", highlight=False, markup=False)
    for sentence in found.measured:
        _out.print(f"fine: {sentence}.", style="dim", highlight=False)
    if not found.problems:
        _out.print("no leak and no trap found", style="bold", highlight=False)


def _show_comparison(comparison: Any) -> None:
    rows = comparison.table()
    sizes = {row["labels_per_class"] for row in rows}
    for finding in (comparison.config.get("check") or {}).get("findings", ()):
        if finding["severity"] != "note":
            _out.print(f"{finding['severity']}: {finding['text']}.", style="yellow", highlight=False, markup=False)
    columns: dict[str, list[str]] = {"method": [row["method"] for row in rows]}
    if len(sizes) > 1:
        columns["labels"] = ["all" if row["labels_per_class"] is None else str(row["labels_per_class"]) for row in rows]
    if len({row["seed"] for row in rows}) > 1:
        columns["seed"] = [str(row["seed"]) for row in rows]
    for heading, key in (("train", "train_accuracy"), ("valid.", "validation_accuracy"), ("test", "test_accuracy")):
        columns[heading] = [_percent(row[key]) for row in rows]
    columns["95 %"] = [f"{_percent(row['test_low'])}–{_percent(row['test_high'])}" for row in rows]
    columns["seconds"] = [
        f"{row['fit_seconds']:,.0f}" if row["fit_seconds"] >= 10 else f"{row['fit_seconds']:.1f}" for row in rows
    ]
    size = next(iter(sizes))
    labels = "" if len(sizes) > 1 else ", all labels" if size is None else f", {size} labels per class"
    table = Table(
        title=f"{comparison.config['source']}{labels}: accuracy in %",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading, cells in columns.items():
        if heading == "method":
            table.add_column(heading, overflow="ellipsis")
            continue
        # On a narrow screen the names give way: figures are never cut.
        width = max(map(len, (heading, *cells)))
        style = "bold" if heading == "test" else ""
        table.add_column(heading, justify="right", no_wrap=True, min_width=width, style=style)
    for row_cells in zip(*columns.values(), strict=True):
        table.add_row(*row_cells)
    _out.print(table)
    for sentence in comparison.verdicts():
        _out.print(visible(sentence), highlight=False, markup=False)
    _out.print(f"report: {comparison.folder / 'report.html'}", style="bold", highlight=False)


def _percent(share: float | None) -> str:
    return "" if share is None or share != share else f"{100 * share:.1f}"


def main() -> None:
    """Run the command line; what a user can mend is one line on standard error, never a traceback."""
    warnings.simplefilter("always", TrainingWarning)
    warnings.showwarning = _show_warning
    try:
        code = app(standalone_mode=False, default_map=read_config(Path(), _options()))
    except InputError as error:
        _fail(str(error), 2)
    except _UsageError as error:
        _fail(error.format_message(), 2)
    except Interrupted as stop:
        _fail(f"{stop}{_to_go_on(stop)}", stop.code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(_STOPPED, _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), 1)
    else:
        if code == _INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
            _fail(_STOPPED, _INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


def _to_go_on(stop: Interrupted) -> str:
    if stop.folder is None:
        return ""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    if words[:1] == ["compare"] and not any(word.split("=")[0] == "--out" for word in words):
        words += ["--out", str(stop.folder)]
    return f"; to go on: {shlex.join(['fewlabels', *words, '--resume'])}"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line
    _err.print(visible(f"warning: {message}"), style="yellow", highlight=False, markup=False)


def _options() -> dict[str, dict[str, str]]:
    """Return for each command its options as typed, without dashes, and what its function calls them."""
    group: Any = typer.main.get_command(app)
    return {
        name: {
            # An argument such as SOURCE is given by its name.
            max(parameter.opts, key=len).lstrip("-"): parameter.name
            for parameter in command.params
            if parameter.name != "help"
        }
        for name, command in group.commands.items()
    }


def _fail(message: str, code: int) -> None:
    _err.print("error: ", style="red", end="")
    _err.print(visible(" ".join(message.split())), highlight=False, markup=False)
    sys.exit(code)
