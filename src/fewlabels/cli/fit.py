"""`fewlabels fit`: train one method."""

from __future__ import annotations

import contextlib
import functools
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewlabels.cli import completion
from fewlabels.cli.answer import Answer, answers, keeping
from fewlabels.cli.app import app, starting, tell, warn
from fewlabels.cli.options import (
    Budget,
    CheckpointEvery,
    Epochs,
    Fold,
    ImageSize,
    Json,
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
    Track,
    new_seed,
    parse_settings,
)
from fewlabels.cli.shown import show_dataset
from fewlabels.cli.source_code import check_methods
from fewlabels.storage.errors import InputError, tell_kept
from fewlabels.storage.launch import Launch
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import counted, enumeration

if TYPE_CHECKING:
    from fewlabels.methods import SemiSupervisedClassifier
    from fewlabels.tracking import TrackedRun

# Settings whose options have other names.
_OPTIONS = {"name": "method", "random_state": "seed", "verbose": "quiet"}
_NAMED_CLASSES = 3


@app.command()
@answers
def fit(
    source: Source = "digits",
    method: Annotated[
        str,
        typer.Option(
            help="Which method (see `fewlabels methods`); auto: what the data asks for.",
            autocompletion=completion.one_of("methods.registry", "_ALL"),
        ),
    ] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("model"),
    labels_per_class: Annotated[
        int | None, typer.Option(help="Labels of each class to learn from; the rest joins the pool.")
    ] = None,
    labels: Labels = None,
    seed: Annotated[int, new_seed("Of the labels drawn and the initial weights.")] = 0,
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    image_size: ImageSize = None,
    preset: Preset = "auto",
    net: Net = None,
    fold: Fold = None,
    pool: Pool = None,
    pool_limit: PoolLimit = None,
    strict: Strict = False,
    settings: Set = None,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = 60.0,
    track: Track = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer | None:
    """Train one method and save the model.

    As it goes, the training is saved beside the model's folder, and `--resume` continues it.

    **Examples**

    `fewlabels fit my-photos --budget 5m --out model` — the method that the data asks for; says which, and why

    `fewlabels fit digits --method supervised --steps 200 --set label_smoothing=0 --out model`

    `fewlabels fit my-photos --method ensemble-labels --net hf:facebook/dinov2-small --out model`

    `torchrun --nproc-per-node=2 -m fewlabels fit my-photos --resume` — two processes share the work
    """
    if pool_limit is not None and pool is None:
        raise InputError(f"--pool-limit {pool_limit} is for the images of --pool; give that too, or leave it away")
    check_methods(method)
    with starting(quiet):
        from fewlabels.data import load_dataset
        from fewlabels.methods import make_method, method_name
        from fewlabels.methods.embedding import own_size, warn_of_leak
        from fewlabels.methods.examples import remember
        from fewlabels.methods.findings import findings
        from fewlabels.methods.fitting import fit_dataset
        from fewlabels.methods.replaced import check_place_before, keep_before
        from fewlabels.storage.atomic import check_writable
        from fewlabels.storage.model_folder import check_target, holds_anything
        from fewlabels.tracking import check_trackers
        from fewlabels.tracking import track as begin_run
        from fewlabels.training.checkpoint import checkpoint_beside, holds_finished, holds_training
        from fewlabels.training.processes import by_turns, first, joined

    if out.name in ("", ".."):
        raise InputError(f"--out {out} is no name of a new folder, which takes the model when it is whole; give one")

    def check_place() -> bool:
        """Refuse a folder that cannot take the model, and say whether another thing is there that it replaces."""
        check_target(out)
        replaces = holds_anything(out)
        check_writable(out)
        if replaces:
            check_place_before(out)
        return replaces

    given: dict[str, Any] = {
        "preset": preset,
        "steps": steps,
        "epochs": epochs,
        "budget": budget,
        "random_state": seed,
        "verbose": not quiet,
        **({} if net is None else {"net": net}),
    }
    more = parse_settings(settings)
    for name in more:
        if name in given or name in _OPTIONS:
            raise InputError(f"--set {name} has an option of its own; give --{_OPTIONS.get(name, name)} itself")
    learner = make_method(method, **given, **more)
    learner.check_settings()
    room: dict[str, Any] = {} if pool_limit is None else {"pool_limit": pool_limit}
    with contextlib.ExitStack() as ended:
        processes = ended.enter_context(joined())
        speaks = processes is None or processes.is_first
        # The others may lie on machines where nothing can be written.
        replaces = first(processes, check_place)
        # All at once, they would each make the tables of the same store.
        trackers = first(processes, lambda: check_trackers(track))
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
                **room,
                progress=speaks and not quiet,
            ),
        )
        if speaks:
            show_dataset(data, quiet=quiet, labels=labels)
        resumed = holds_training(checkpoint)

        # With the first event, when the data are known to do and no other process trains here: beginning a run takes
        # the place of the one before.
        @functools.cache
        def run() -> TrackedRun:
            begun = begin_run(trackers, out.parent, name=out.name, method=learner, resumed=resumed)
            return ended.enter_context(begun)

        fit_dataset(
            learner,
            data,
            observer=(lambda event: run()(event)) if trackers and speaks else None,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
        )
        if not speaks:
            return None
        if skipped := data.pool.skipped:
            which = "" if len(skipped) == 1 else ", the first"
            images = f"{counted(len(skipped), 'unreadable image')} of the pool{which}"
            warn(f"left out {images}: {skipped[0].path} ({skipped[0].reason})")
        class_names = [data.class_names[index] for index in learner.classes_]

        def reached() -> str | None:
            if not holds_training(checkpoint):
                return None
            what = "training is finished and" if holds_finished(checkpoint) else "last checkpoint is"
            return f"the {what} kept in {checkpoint}; the model is not saved yet"

        try:
            with keeping(reached, checkpoint):
                if trackers:
                    run().conclude_fit(learner)
                warn_of_leak(learner, data)
                remember(learner, data)
                kept = keep_before(out) if replaces else None
                learner.save(out, class_names=class_names)
        except OSError as error:
            # Where the checkpoint could not be written either, hours of training would be lost.
            if not holds_finished(checkpoint) and (place := _save_elsewhere(learner, out.name, class_names)):
                tell_kept(error, f"the model is saved in {place} instead")
            raise
        with keeping(lambda: f"the model is saved in {out}"):
            shutil.rmtree(checkpoint, ignore_errors=True)
    facts = {
        "model": out,
        "model_before": kept,
        "method": method_name(type(learner)),
        "classes": class_names,
        "labeled": len(data.labeled),
        "pool": len(data.pool),
        "skipped": [{"file": visible(str(one.path)), "reason": one.reason} for one in (*data.skipped, *skipped)],
        "validation_accuracy": learner.validation_accuracy_,
        "validation_images": learner.n_validation_,
        "unmeasured_classes": [class_names[index] for index in learner.unmeasured_classes_],
        "fit_seconds": learner.fit_seconds_,
        "stage_steps": learner.stage_steps_,
        "gradient_images": learner.gradient_images_,
        "settings": learner.settings_,
        "findings": [visible(finding) for finding in findings(learner, class_names)],
        "notes": learner.notes_,
    }
    return Answer(lambda: facts, lambda: _show(facts, source, quiet))


def _save_elsewhere(learner: SemiSupervisedClassifier, name: str, class_names: list[str]) -> Path | None:
    """Save a model where temporary files go, and return where; None where it cannot be saved there either."""
    with contextlib.suppress(OSError):
        place = Path(tempfile.mkdtemp(prefix="fewlabels-")) / name
        learner.save(place, class_names=class_names)
        return place
    return None


def _show(facts: dict[str, Any], source: str, quiet: bool) -> None:
    warned = {visible(note) for note in facts["notes"]}
    for finding in facts["findings"]:
        if finding not in warned:
            tell(finding)
    accuracy, out = facts["validation_accuracy"], facts["model"]
    count = facts["validation_images"]
    held_out = counted(count, "held-out image")
    if lacking := facts["unmeasured_classes"]:
        held_out += f", none of {enumeration([visible(name) for name in lacking], last='or', most=_NAMED_CLASSES)}"
    measured = "" if accuracy != accuracy else f", {accuracy:.1%} on {held_out}"
    tell(f"model saved in {out}: {facts['fit_seconds']:.0f} s of training{measured}")
    if facts["model_before"] is not None:
        tell(f"the model that was there is kept in {facts['model_before']}")
    if not quiet:
        words = shlex.join(["fewlabels", "evaluate", str(out), source])
        tell(f"next: {words}", "dim")
