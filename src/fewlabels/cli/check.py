"""`fewlabels check`: look for leaks and traps."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, screen, starting, tell
from fewlabels.cli.options import Fold, ImageSize, Json, Labels, Quiet, Source, Strict, TestPerClass, new_seed
from fewlabels.cli.shown import show_dataset
from fewlabels.storage.visible import visible

# Files that could not be read, on the screen; all are in the JSON.
_NAMED = 20


@app.command()
@answers
def check(
    source: Source = "digits",
    labels_per_class: Annotated[
        int | None, typer.Option(help="Labels of each class to learn from, the rest joins the pool.")
    ] = None,
    seed: Annotated[int, new_seed("Of the labels drawn.")] = 0,
    image_size: ImageSize = None,
    test_per_class: TestPerClass = None,
    labels: Labels = None,
    fold: Fold = None,
    near: Annotated[bool, typer.Option(help="Search for near duplicates as well, which takes longest.")] = True,
    strict: Strict = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Look for leaks and traps in a data set before anything is trained: exit code 1 where there are some.

    Copies and near duplicates between the labeled, validation, test and pool images, copies with different labels,
    classes without an image, parts that look as if they came from elsewhere or were stretched.

    **Examples**

    `fewlabels check my-photos`

    `fewlabels check my-photos --labels-per-class 20 --json`
    """
    from fewlabels.data import load_dataset

    data = load_dataset(
        source,
        image_size=image_size,
        labels_per_class=labels_per_class,
        test_per_class=test_per_class,
        random_state=seed,
        labels=labels,
        fold=fold,
        strict=strict,
        progress=not quiet,
    )
    show_dataset(data, quiet=quiet, named=_NAMED, labels=labels)
    # Takes seconds, for PyTorch: after whatever may be wrong with the source.
    with starting(quiet):
        from fewlabels.checks import check_dataset

    found = check_dataset(data, near=near)
    skipped = [{"file": visible(str(one.path)), "reason": one.reason} for one in data.skipped]
    facts = {**found.to_dict(), "skipped": skipped}
    return Answer(lambda: facts, lambda: _show_check(found, data), code=1 if found.problems else 0)


def _show_check(found: Any, data: Any) -> None:
    parts = ", ".join(f"{count:,} {name}" for name, count in found.images.items())
    tell(f"{data.source}: {parts} images looked at in {found.seconds:.0f} s")
    for finding in found.findings:
        style = {"leak": "bold red", "trap": "yellow"}.get(finding.severity, "dim")
        screen.print(f"{finding.severity}: ", style=style, end="")
        tell(f"{finding.text}.")
        for pair in finding.examples:
            tell("    " + " = ".join(pair), "dim")
    for sentence in found.measured:
        tell(f"fine: {sentence}.", "dim")
    if not found.problems:
        tell("no leak and no trap found", "bold")
