"""`fewlabels label`: what to label next."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers, keeping
from fewlabels.cli.app import app, screen, starting, tell
from fewlabels.cli.options import Json, Labels, Quiet, Strict, model_there, new_seed
from fewlabels.cli.shown import show_left_out, show_notes
from fewlabels.storage.errors import InputError
from fewlabels.storage.model_folder import looks_like_a_model
from fewlabels.storage.visible import visible

_SHOWN = 20
_NAME, _ROOM = 12, 60


@app.command()
@answers
def label(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|SOURCE",
            help="A model folder that `fit` or `compare` wrote; or before there is one, the SOURCE: a folder of images "
            "will do.",
            autocompletion=completion.model_or_source,
        ),
    ],
    pool: Annotated[
        str | None,
        typer.Argument(
            help="Image files in a folder, or a SOURCE, whose pool is meant; the source that the model learned from "
            "when not given.",
            show_default=False,
            autocompletion=completion.source,
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="A .csv or .parquet file for the whole pool, best first.")] = None,
    show: Annotated[
        int | None, typer.Option(help="Print the first so many, 20 when not given.", min=0, show_default=False)
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="uncertain-diverse (when not given), diverse (when not given and there is no model), margin, entropy, "
            "or random, the bar for the others."
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            help="So many are chosen with regard to those before, 500 when not given; then come the least sure, or "
            "without a model the others at random.",
            min=1,
        ),
    ] = None,
    seed: Annotated[int | None, new_seed("Of random choices, 0 when not given.")] = None,
    labels: Labels = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="For POOL in shards (Parquet, WebDataset; here or s3://…), however large: local, this process, or "
            "ray, a Ray cluster. Every image gets a row, in Parquet files in the folder --out; none is ranked."
        ),
    ] = None,
    net: Annotated[
        str | None,
        typer.Option(
            help="The pretrained net, where it was code of your own; without a model, one that tells which images are "
            "alike (see `fewlabels fit --help`), patches of the images when not given."
        ),
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Say which images of a pool to label next: those whose labels would help most.

    Each image gets its most probable class, the calibrated probability of that, and a score from 0 to 1 of how much
    like the labeled images it is: below 0.05 it is unlike 19 of 20 of them, and may belong to no class.

    Fill in the column `class` of the first rows of the CSV file, and give it to `fewlabels fit SOURCE --labels`. What
    `--labels` tells is in it only where that is an earlier table, and `--out` the same file.

    Without a model, those come first that stand for many others: what to begin with.

    **Examples**

    `fewlabels label my-photos --out to-label.csv` — no model yet, and no labels

    `fewlabels label model my-photos --out to-label.csv` — the pool of the source

    `fewlabels label model new-photos/ --show 50` — a folder of files

    `fewlabels label model --labels labels.csv --json` — after some labels, without fitting anew

    `fewlabels label model 's3://bucket/pool/*.tar' --engine ray --out s3://bucket/labels`
    """
    # What is wrong is told without waiting for what reads models.
    has_model = looks_like_a_model(Path(model))
    if has_model:
        model_there(Path(model))
    elif pool is not None or not _is_source(model):
        if not Path(model).exists():
            raise InputError(f"there is no model folder at {model}; to begin without one, give a folder of images")
        raise InputError(f"{model} is no model folder; before there is a model, give the source alone")
    with starting(quiet):
        from fewlabels.labeling import check_strategy, check_table, describe_pool, first_to_label
        from fewlabels.methods import load

    if engine is not None:
        for option, value in (
            ("--strategy", strategy),
            ("--count", count),
            ("--show", show),
            ("--seed", seed),
            ("--labels", labels),
            ("--net", net),
            ("--strict", strict or None),
        ):
            if value is not None:
                raise InputError(f"{option} does not go with --engine, which labels every image and ranks none")
        if not has_model:
            raise InputError(f"--engine labels with a model, and {model} is none; give MODEL, then POOL, the shards")
        return _label_shards(Path(model), pool, out, engine, quiet)
    given: dict[str, Any] = {
        name: value for name, value in (("strategy", strategy), ("count", count)) if value is not None
    }
    check_strategy(strategy, has_model=has_model)
    kept = 0 if out is None else len(check_table(Path(out)))
    given |= {"random_state": seed or 0, "labels": labels, "strict": strict, "progress": not quiet}
    if has_model:
        found = describe_pool(load(model, net=net), pool, **given)
    else:
        with _or_a_model(model):
            found = first_to_label(model, net=net, **given)
    unwritten = None
    if out is not None:
        try:
            found.write(Path(out))
        except OSError as error:
            unwritten, out = error, None
    show_notes(found.notes, quiet=quiet, labels=labels)
    show_left_out(found.skipped)
    first = _SHOWN if show is None else show
    hint = "" if has_model or quiet or unwritten else _next_step(model, out, labels)
    return Answer(
        lambda: found.summary(first) | {"out": out},
        lambda: _show(found, first, out, kept, hint),
        unwritten=unwritten,
    )


def _is_source(place: str) -> bool:
    """Say whether there are images, or a data set is meant."""
    from fewlabels.data import list_datasets

    return Path(place).exists() or place.partition(":")[0] in [known.name for known in list_datasets()]


@contextlib.contextmanager
def _or_a_model(place: str) -> Iterator[None]:
    """Have an error say that a model would do as well."""
    try:
        yield
    except InputError as error:
        # Whatever else was given may be wrong too.
        if not Path(place).is_dir() or place not in str(error):
            raise
        raise InputError(f"{place} is no model folder, and as images: {error}") from error


def _next_step(source: str, out: str | None, labels: str | None) -> str:
    if out is None:
        return "next: with --out to-label.csv they are a table to fill in"
    if not out.lower().endswith(".csv"):
        return "next: a table to fill in is written with --out to-label.csv"
    # Else a fit would learn from what was labeled since alone.
    is_other = labels is not None and Path(labels).resolve() != Path(out).resolve()
    both = f"add the lines of {labels} (file and class) at its end, " if is_other else ""
    fit = f"fewlabels fit {shlex.quote(source)} --labels {shlex.quote(out)}"
    return f"next: fill in the class of the first rows, until each class has five or ten, {both}then {fit}"


def _label_shards(model: Path, pool: str | None, out: str | None, engine: str, quiet: bool) -> Answer:
    from fewlabels.labeling import label_shards
    from fewlabels.labeling.partitions import is_begun

    if pool is None or out is None:
        raise InputError("--engine needs POOL, the shards, and --out, the folder for the labels")
    stays = f"the partitions that were labeled are kept in {out}, and the same command goes on with the others"
    with keeping(lambda: stays if is_begun(out) else None):
        found = label_shards(model, pool, out, engine=engine, progress=not quiet)
    kept = f", {found['found']:,} of them from before" if found["found"] else ""
    unreadable = f", {found['unreadable']:,} unreadable" if found["unreadable"] else ""
    show_notes(found["notes"], quiet=quiet)
    line = f"{found['images']:,} images{unreadable} in {found['partitions']:,} partitions{kept} in {out}"
    return Answer(lambda: found | {"out": out}, lambda: tell(line))


def _show(found: Any, count: int, out: str | None, kept: int, hint: str) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    # Without its name an image is not to be found: on a narrow screen what is beside it gives way, the score first.
    with_score = screen.width >= _ROOM
    table.add_column("file", overflow="fold", min_width=_NAME)
    if found.class_names:
        table.add_column("guess")
        table.add_column("probability", justify="right", no_wrap=True)
        if with_score:
            table.add_column("like the labeled", justify="right", no_wrap=True)
    for row in found.rows(count=count):
        score = row["in_distribution"]
        cells = [str(row["rank"]), visible(row["file"])]
        if found.class_names:
            cells += [visible(row["guess"]), f"{row['probability']:.1%}"]
            cells += [] if not with_score else [""] if score is None else [f"{score:.2f}"]
        table.add_row(*cells)
    if count:
        screen.print(table)
    unlike = found.summary(0)["unlike_the_labeled"]
    if unlike is not None:
        tell(f"{unlike:,} of {len(found):,} images are unlike 19 of 20 labeled ones (5 % would be by chance)")
    if out is not None:
        # Those may be of images of this pool or not: they are not counted beside it.
        stay = "1 row that was filled in stays" if kept == 1 else f"{kept:,} rows that were filled in stay"
        before = f"; {stay}, before the others" if kept else ""
        tell(f"{len(found):,} images, best first, in {out}{before}")
    if hint:
        tell(hint, "dim")
