"""`fewlabels label`: what to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, errors, screen
from fewlabels.cli.options import Json, Labels, Model, Quiet, Strict, new_seed
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible

_SHOWN = 20


@app.command()
@answers
def label(
    model: Model,
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
            help="uncertain-diverse (when not given), diverse, margin, entropy, or random, the bar for the others."
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            help="So many are chosen with regard to those before, 500 when not given; then come the least sure.", min=1
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
    net: Annotated[str | None, typer.Option(help="The pretrained net, where it was code of your own.")] = None,
    strict: Strict = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Say which images of a pool to label next: those whose labels would help most.

    Each image gets its most probable class, the calibrated probability of that, and a score from 0 to 1 of how much
    like the labeled images it is: below 0.05 it is unlike 19 of 20 of them, and may belong to no class.

    Fill in the column `class` of the first rows of the CSV file, and give it to `fewlabels fit SOURCE --labels`.

    **Examples**

    `fewlabels label model my-photos --out to-label.csv` — the pool of the source

    `fewlabels label model new-photos/ --show 50` — a folder of files

    `fewlabels label model --labels labels.csv --json` — after some labels, without fitting anew

    `fewlabels label model 's3://bucket/pool/*.tar' --engine ray --out s3://bucket/labels`
    """
    from fewlabels.labeling import check_strategy, check_table, describe_pool
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
        return _label_shards(model, pool, out, engine, quiet)
    given: dict[str, Any] = {
        name: value for name, value in (("strategy", strategy), ("count", count)) if value is not None
    }
    if strategy is not None:
        check_strategy(strategy)
    kept = 0 if out is None else len(check_table(Path(out)))
    found = describe_pool(
        load(model, net=net),
        pool,
        **given,
        random_state=seed or 0,
        labels=labels,
        strict=strict,
        progress=not quiet,
    )
    if out is not None:
        found.write(Path(out))
    for note in () if quiet else found.notes:
        errors.print(visible(f"note: {note}"), style="dim", highlight=False)
    for entry in found.skipped:
        line = visible(f"left out {entry.path}: {entry.reason}")
        errors.print(line, style="yellow", highlight=False)
    first = _SHOWN if show is None else show
    return Answer(lambda: found.summary(first) | {"out": out}, lambda: _show(found, first, out, kept))


def _label_shards(model: Path, pool: str | None, out: str | None, engine: str, quiet: bool) -> Answer:
    from fewlabels.labeling import label_shards

    if pool is None or out is None:
        raise InputError("--engine needs POOL, the shards, and --out, the folder for the labels")
    found = label_shards(model, pool, out, engine=engine, progress=not quiet)
    kept = f", {found['found']:,} of them from before" if found["found"] else ""
    unreadable = f", {found['unreadable']:,} unreadable" if found["unreadable"] else ""
    line = f"{found['images']:,} images{unreadable} in {found['partitions']:,} partitions{kept} in {out}"
    return Answer(lambda: found | {"out": out}, lambda: screen.print(line, highlight=False))


def _show(found: Any, count: int, out: str | None, kept: int) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("guess")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("like the labeled", justify="right", no_wrap=True)
    for row in found.rows(count=count):
        score = row["in_distribution"]
        table.add_row(
            str(row["rank"]),
            visible(row["file"]),
            visible(row["guess"]),
            f"{row['probability']:.1%}",
            "" if score is None else f"{score:.2f}",
        )
    if count:
        screen.print(table)
    unlike = found.summary(0)["unlike_the_labeled"]
    if unlike is not None:
        screen.print(
            f"{unlike:,} of {len(found):,} images are unlike 19 of 20 labeled ones (5 % would be by chance)",
            highlight=False,
        )
    if out is not None:
        # Those may be of images of this pool or not: they are not counted beside it.
        stay = "1 row that was filled in stays" if kept == 1 else f"{kept:,} rows that were filled in stay"
        before = f"; {stay}, before the others" if kept else ""
        screen.print(f"{len(found):,} images, best first, in {out}{before}", highlight=False)
