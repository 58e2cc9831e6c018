"""The protocol: the same images and labels for every method, test images once, everything written down."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewlabels.checks import check_dataset
from fewlabels.data import ImageDataset
from fewlabels.evaluation.asked import Asked
from fewlabels.evaluation.choosing import check_held_out
from fewlabels.evaluation.conditions import VARIED, environment, repeat_command
from fewlabels.evaluation.contenders import Contender, Field, enter
from fewlabels.evaluation.engines import Work, do
from fewlabels.evaluation.listener import Listener
from fewlabels.evaluation.plan import Plan
from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run_folder import RunFolder, check_out
from fewlabels.evaluation.training import Draws
from fewlabels.evaluation.watched import Watching
from fewlabels.storage.arguments import check_callable
from fewlabels.storage.engine import check_engine, import_ray
from fewlabels.storage.errors import InputError, Interrupted, tell_kept
from fewlabels.training.checkpoint import EVERY
from fewlabels.training.device import choose_device
from fewlabels.training.monitor import Observer
from fewlabels.training.recovery import Diverged
from fewlabels.training.stopping import StopSignals

_CHECKED_SIDE = 64


def compare(
    source: Any = "digits",
    *,
    methods: Sequence[str] | str | None = None,
    rungs: Sequence[str] | str | None = None,
    net: Any = None,
    labels_per_class: int | Sequence[int] | None = None,
    labels: str | Path | Mapping[str, str] | None = None,
    seeds: int | Sequence[int] = 1,
    vary: Sequence[str] | str = VARIED,
    steps: int | None = None,
    epochs: float | None = None,
    budget: str | float | None = None,
    image_size: int | None = None,
    preset: str = "auto",
    test_per_class: int | None = None,
    fold: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    checkpoint_every: float = EVERY,
    settings: dict[str, Any] | None = None,
    choose: dict[str, Sequence[Any]] | None = None,
    observer: Observer | None = None,
    cache_dir: str | Path | None = None,
    strict: bool = False,
    check: bool = True,
    progress: bool = False,
    engine: str = "local",
    on_finished: Callable[[Comparison], None] | None = None,
    track: Sequence[str] | str | Watching | None = None,
) -> Comparison:
    """Train several methods on the same images and labels and find out which is best, and how surely.

    For each seed and number of labels the data are drawn once, each method is fitted with that seed, and the
    test images are classified once. Methods are paired: with the same seed they see the same labels, and their initial
    weights and order follow from the same numbers. For one seed, fewer labels are among the more. Every finished run
    is on disk before the next begins.

    Parameters
    ----------
    source : str, Path, tuple, mapping or ImageDataset
        Whatever `load_dataset` takes, or a data set that it gave: then every seed has its labels.
    methods : sequence of str, optional
        Names from `METHODS`, or "all"; the four of `BASIC_METHODS` when not given.
    rungs : sequence of str, optional
        Compare rungs of the ladder rather than methods: keys of `fewlabels.methods.rungs.RUNGS`, or "all" that are
        possible.
    net : str or nn.Module, optional
        A pretrained net (see `fewlabels.nets.pretrained.load_backbone`): rungs use it; methods learn from its
        features, which are made once and kept in the cache folder.
    labels_per_class : int or sequence of int, optional
        Labels of each class to learn from; several numbers are compared one by one.
    labels : str, Path or mapping, optional
        A CSV file of labels given by hand, or such labels by the images' names, which every run learns from as well;
        see `load_dataset`.
    seeds : int or sequence of int
        How many draws of labels and initial weights (an int: seeds 0, 1, …), or which.
    vary : sequence of str
        What differs from seed to seed, of "labels" (which are drawn, and which of them are held out), "weights" (the
        initial ones) and "order" (of the images, their views, dropout); the rest stays as in the first seed.
    steps, epochs, budget : optional
        Length of the training, at most one of them; see `SemiSupervisedClassifier`.
    image_size, test_per_class, fold, cache_dir, strict, progress
        See `load_dataset`.
    preset : {"auto", "default", "short", "notebook"}
        Of every method, see `SemiSupervisedClassifier`.
    check : bool
        Look for leaks and traps in the first draw of the data before anything is trained, see
        `fewlabels.check_dataset`; what is found stands in `config["check"]` and on top of the report.
    out : str or Path, optional
        Folder for everything; `./runs/<data set>-<date>-<time>` when not given.
    overwrite : bool
        Replace an earlier comparison in `out`.
    resume : bool
        Go on with the earlier comparison in `out` that was stopped, if there is one: finished trainings are not done
        again, and the one that was interrupted is continued. All other arguments must be those it was begun with, and
        the data the same. Only `engine` may be another, since where a training is done changes nothing of what it comes
        to (but for last bits, with another number of threads), and what has no part in the results: `cache_dir`,
        `checkpoint_every`, and who is told.
    checkpoint_every : float
        Seconds between checkpoints of a training.
    settings : dict, optional
        More hyper-parameters; each goes to the methods that have it.
    choose : dict, optional
        Hyper-parameters and the values to try. Every method that has them is trained with each combination, in every
        run; the one with the highest accuracy on labeled images held out is measured on the test images, and it alone.
    observer : callable, optional
        Is called with each event of a training, a dict; `title`, `method`, `labels_per_class`, `seed`, `run`
        and `runs` say which.
    engine : {"local", "ray"}
        Where to train: here, one training after the other, or side by side on a Ray cluster (the one that
        `RAY_ADDRESS` names, or that `ray start` has begun on this machine, else one that is started), each with one
        CPU, and one GPU where there are any. Every machine must reach the source.
    on_finished : callable, optional
        Is called with the comparison at the end, also when it is stopped after a finished training.
        `fewlabels.compare` writes the report here.
    track : sequence of str, optional
        Of `fewlabels.compare`: keys of `fewlabels.tracking.TRACKERS`, "tensorboard", "mlflow". Each training is a run
        there, with its hyper-parameters, losses and accuracies on the way, and in the end the figures and confusion
        matrix of the test images; one more holds the learning curves. Here, and there too: a `Watching`, which is
        told of the trainings one by one, and of what was measured.

    Returns
    -------
    Comparison
        Also written to `out`: `config.json`, `metrics.jsonl`, `results.csv`, `results.json`, `models/` and
        `predictions/`.

    Raises
    ------
    InputError
        If an argument or the source cannot be used; nothing is written then.
    Interrupted
        If stopped by Ctrl-C or SIGTERM; finished runs are kept, and `resume` goes on.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = compare("digits", methods=["supervised"], steps=30, out=folder)
    ...     sorted(path.name for path in found.folder.iterdir())[-2:]
    ['results.csv', 'results.json']
    """
    check_callable("observer", observer)
    check_callable("on_finished", on_finished)
    if not isinstance(track, Watching | None):
        raise InputError(f"track={track!r}: trackers are told by fewlabels.compare; call that")
    asked = Asked.of(
        methods=methods,
        rungs=rungs,
        labels_per_class=labels_per_class,
        seeds=seeds,
        vary=vary,
        settings=settings,
        choose=choose,
        preset=preset,
        steps=steps,
        epochs=epochs,
        budget=budget,
    )
    check_engine(engine)
    if engine == "ray":
        import_ray()  # told now, not after the data are read
    asked.check()
    if resume and (out is None or overwrite):
        raise InputError("resume goes on in the folder of an earlier comparison; give out, and leave overwrite off")
    check_out(out, overwrite=overwrite or resume)

    reading = {"labels": labels, "fold": fold, "strict": strict, "cache_dir": cache_dir}
    draws = Draws(source, reading, test_per_class)
    if isinstance(source, ImageDataset):
        _refuse_draws(
            image_size=image_size,
            labels_per_class=labels_per_class,
            labels=labels,
            test_per_class=test_per_class,
            fold=fold,
        )
    wanted_device = asked.settings.get("device", "auto")
    entered = enter(
        source,
        methods=asked.methods,
        rungs=rungs,
        net=net,
        image_size=image_size,
        fold=fold,
        strict=strict,
        cache_dir=cache_dir,
        progress=progress,
        device=wanted_device,
    )
    first = _first_draw(asked, entered.contenders, draws, progress=progress)
    device = str(choose_device(str(wanted_device)))
    arguments = {
        "source": source if isinstance(source, str | Path) else None,
        "methods": asked.methods if rungs is None else None,
        "rungs": entered.rungs or None,
        "net": net if net is None or isinstance(net, str) else "module",
        "labels_per_class": None if asked.sizes == [None] else asked.sizes,
        **({} if labels is None else {"labels": str(labels)}),
        "seeds": asked.seeds,
        "vary": asked.varied,
        "steps": steps,
        "epochs": epochs,
        "budget": budget,
        "image_size": image_size,
        "preset": preset,
        "test_per_class": test_per_class,
        "fold": fold,
        "settings": asked.settings,
        **({"choose": asked.choices} if asked.choices else {}),
        "strict": strict,
        "check": check,
        **({} if engine == "local" else {"engine": engine}),
    }
    config = _config(arguments, labels, entered, first, device)
    folder = RunFolder(out, first.name, overwrite=overwrite, resume=resume)
    try:
        finished = folder.finished(config) if resume else {}
        if check and config["check"] is None:
            images = _images_to_check(asked, entered, draws, first, progress=progress)
            config["check"] = check_dataset(images).to_dict()
    except BaseException:
        folder.discard()
        raise

    plan = Plan(asked, entered.contenders, draws, first)
    # All that was finished before is part of it from the beginning, whatever comes of the rest.
    comparison = Comparison(first.class_names, config, sorted(finished.values(), key=plan.place), folder.path)
    listen = functools.partial(
        Listener,
        runs=len(plan),
        comparison=comparison,
        folder=folder,
        observer=observer,
        watching=track,
        resume=resume,
    )

    def train() -> None:
        do(Work(plan.trainings(finished, config["data"]), draws, listen, checkpoint_every, device), engine)

    _carry_out(train, plan, comparison, folder, on_finished)
    return comparison


def _refuse_draws(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} cannot change a data set that is already loaded; give it to load_dataset")


def _first_draw(asked: Asked, contenders: list[Contender], draws: Draws, *, progress: bool) -> ImageDataset:
    """Return the first draw, when each number of labels was drawn once, and what each contender learns from."""
    last, size, seed = contenders[-1], asked.sizes[0], asked.seeds[0]
    first = draws(last, size, seed, progress=progress)
    for number in asked.sizes:
        # Too large a number is told now, not after hours of training, and one too small to choose by.
        data = first if number == size else draws(last, number, seed)
        for who in contenders:
            tried = asked.combinations(who.method)
            for values in tried if len(tried) > 1 else ():
                check_held_out(who.make(**{**asked.settings_of(who.method), **values}), data)
    for who in contenders:
        # All of them now: an hour later, there may be other images or labels.
        draws(who, size, seed)
    return first


def _config(
    arguments: dict[str, Any],
    labels: str | Path | Mapping[str, str] | None,
    entered: Field,
    first: ImageDataset,
    device: str,
) -> dict[str, Any]:
    """Return the comparison's description, in which data and settings are noted as trainings come to them."""
    source = first.source if arguments["source"] is None else str(arguments["source"])
    return {
        "source": source,
        "command": repeat_command({**arguments, "labels": labels} if isinstance(labels, Mapping) else arguments),
        "arguments": {**arguments, "source": source},
        "settings": {},
        **environment(device),
        # A training on a cluster has one CPU.
        **({"threads": 1} if "engine" in arguments else {}),
        "data": {},
        "fingerprint": first.fingerprint,
        "check": None,
        "rungs": entered.rungs,
        "embedded": entered.embedded,
    }


def _images_to_check(
    asked: Asked, entered: Field, draws: Draws, first: ImageDataset, *, progress: bool
) -> ImageDataset:
    """Return what is looked through for leaks and traps: the first draw, or what its features were made of."""
    if not (first.is_features and entered.embedded):
        return first
    # Features show no copies: looked at are the images, in the same draw. What a net looks at in 224 pixels a side
    # takes fifty times as long to look through, and shows no more copies.
    last = entered.contenders[-1]
    side = None if last.embedded_size is None else min(last.embedded_size, _CHECKED_SIDE)
    seen = replace(last, source=draws.source, image_size=side)
    return draws(seen, asked.sizes[0], asked.seeds[0], progress=progress)


def _carry_out(
    train: Callable[[], None],
    plan: Plan,
    comparison: Comparison,
    folder: RunFolder,
    on_finished: Callable[[Comparison], None] | None,
) -> None:
    """Train, and write what came of it, whatever ends it."""
    signals = StopSignals()

    def conclude() -> None:
        if comparison.runs:
            # Side by side, they end in any order.
            comparison.runs.sort(key=plan.place)
            folder.write_results(comparison)
            if on_finished is not None:
                on_finished(comparison)

    try:
        with signals:
            train()
        conclude()
    except (KeyboardInterrupt, Interrupted) as stop:
        # Who stops it again does not wait for the page; what was finished is kept, and that is told.
        with contextlib.suppress(KeyboardInterrupt):
            conclude()
        code = stop.code if isinstance(stop, Interrupted) else signals.exit_code
        raise _stopped(len(comparison.runs), len(plan), folder, code) from stop
    except Exception as error:
        # What goes wrong in the same way again is not worth going on with. A pool that cannot be reached, or memory
        # that others have taken, does not: what was learned until then is kept.
        if isinstance(error, InputError) and not comparison.runs and not folder.was_in_the_midst:
            folder.discard()
        # The error that ended it says more than one that may follow from it.
        with contextlib.suppress(OSError):
            conclude()
        if (kept := _kept(len(comparison.runs), len(plan), folder)) is not None:
            tell_kept(error, kept, None if isinstance(error, Diverged) else folder.path)
        raise
    finally:
        folder.close()


def _stopped(done: int, all_runs: int, folder: RunFolder, code: int) -> Interrupted:
    kept = _kept(done, all_runs, folder)
    if kept is None:
        folder.discard()
        message = "stopped before the first training was finished; nothing was written"
        if folder.has_replaced:
            message += f", and the earlier comparison in {folder.path} is gone"
        return Interrupted(message, code=code)
    return Interrupted(f"stopped; {kept}", code=code, folder=folder.path)


def _kept(done: int, all_runs: int, folder: RunFolder) -> str | None:
    """Return in words what is kept of a comparison that came to no end, None where nothing is."""
    continued = folder.has_checkpoints
    if not done and not continued:
        return None
    # After the last one, the checkpoint is that of a training which was finished.
    reached = ", and so is what the next one has reached" if continued and done < all_runs else ""
    return f"{done} of {all_runs} trainings were finished and are kept in {folder.path}{reached}"
