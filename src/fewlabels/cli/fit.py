"""`fewlabels fit`: train one method."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from fewlabels.cli.app import app, screen
from fewlabels.cli.options import (
    Budget,
    CheckpointEvery,
    Epochs,
    Fold,
    ImageSize,
    Labels,
    Net,
    Pool,
    PoolLimit,
    Preset,
    Quiet,
    Resume,
    Set,
    Source,
    Steps,
    Strict,
    parse_settings,
)
from fewlabels.cli.shown import show_dataset
from fewlabels.storage.launch import Launch
from fewlabels.storage.visible import visible


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
    labels: Labels = None,
    seed: Annotated[int, typer.Option(help="Of the labels drawn and the initial weights.")] = 0,
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    image_size: ImageSize = None,
    preset: Preset = "auto",
    net: Net = None,
    fold: Fold = None,
    pool: Pool = None,
    pool_limit: PoolLimit = "2GB",
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

    `torchrun --nproc-per-node=2 -m fewlabels fit my-photos --resume` — two processes share the work
    """
    from fewlabels.data import load_dataset
    from fewlabels.methods import make_method
    from fewlabels.methods.embedding import own_size, warn_of_leak
    from fewlabels.methods.examples import remember
    from fewlabels.methods.findings import findings
    from fewlabels.training.checkpoint import checkpoint_beside
    from fewlabels.training.processes import by_turns, first, joined
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
        **parse_settings(settings),
    )
    learner.check_settings()
    with joined() as processes:
        speaks = processes is None or processes.is_first
        checkpoint = Path(
            first(processes, lambda: str(checkpoint_beside(out, resume=resume or Launch.read().restarts > 0)))
        )
        data = by_turns(
            processes,
            lambda: load_dataset(
                source,
                image_size=own_size(source, learner.net) if image_size is None else image_size,
                labels_per_class=labels_per_class,
                random_state=seed,
                labels=labels,
                fold=fold,
                strict=strict,
                pool=pool,
                pool_limit=pool_limit,
                progress=speaks and not quiet,
            ),
        )
        if speaks:
            show_dataset(data)
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
        if not speaks:
            return
        warn_of_leak(learner, data)
        remember(learner, data)
        class_names = [data.class_names[index] for index in learner.classes_]
        learner.save(out, class_names=class_names)
        shutil.rmtree(checkpoint, ignore_errors=True)
    for finding in findings(learner, class_names):
        screen.print(visible(finding), highlight=False, markup=False)
    accuracy = learner.validation_accuracy_
    measured = "" if accuracy != accuracy else f", {accuracy:.1%} on held-out images"
    screen.print(f"model saved in {out}: {learner.fit_seconds_:.0f} s of training{measured}", highlight=False)
    screen.print(f"next: fewlabels evaluate {out} {source}", style="dim", highlight=False)
