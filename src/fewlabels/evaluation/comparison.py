"""The protocol: the same images and labels for every method, test images once, everything written down."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels.checks import check_dataset
from fewlabels.data import ImageDataset
from fewlabels.evaluation.choosing import check_choices, check_held_out, combinations
from fewlabels.evaluation.conditions import VARIED, environment, repeat_command
from fewlabels.evaluation.contenders import enter
from fewlabels.evaluation.engines import Work, do
from fewlabels.evaluation.listener import Listener
from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.run_folder import RunFolder, check_out, name_of, run_name
from fewlabels.evaluation.training import Draws, Training
from fewlabels.evaluation.watched import Watching
from fewlabels.methods import BASIC_METHODS, METHODS, make_method, method_name
from fewlabels.methods.rungs import RUNGS
from fewlabels.storage.engine import check_engine, import_ray
from fewlabels.storage.errors import InputError, Interrupted, nearest
from fewlabels.storage.plain import python_number
from fewlabels.training.checkpoint import EVERY
from fewlabels.training.device import choose_device
from fewlabels.training.monitor import Observer
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
    watching: Watching | None = None,
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
        `RAY_ADDRESS` names, or one that runs on this machine, else one that is started), each with one CPU, and one
        GPU where there are any. Every machine must reach the source.
    on_finished : callable, optional
        Is called with the comparison at the end, also when it is stopped after a finished training.
        `fewlabels.compare` writes the report here.
    watching : Watching, optional
        Is told of the trainings one by one, and of what was measured; `fewlabels.compare` makes one of `track`, names
        of trackers ("tensorboard", "mlflow").

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
    if rungs is not None and methods is not None:
        raise InputError("methods and rungs are given; give one of them")
    names = _methods(methods) if rungs is None else _methods(list(_methods_of(rungs)))
    sizes, seed_list, varied = _label_counts(labels_per_class), _seeds(seeds), _varied(vary)
    given = {
        name: python_number(value)
        for name, value in {"preset": preset, "steps": steps, "epochs": epochs, "budget": budget}.items()
        if value is not None
    }
    extra = {name: python_number(value) for name, value in (settings or {}).items()}
    options = {
        name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in (choose or {}).items()
    }
    check_choices(options)
    options = {name: [python_number(value) for value in values] for name, values in options.items()}
    check_engine(engine)
    if engine == "ray":
        import_ray()  # told now, not after the data are read
    _check_settings(names, given, {**extra, **{name: values[0] for name, values in options.items()}})
    for name in names:
        for values in combinations(name, options):
            make_method(name, **given, **{**_own(name, extra), **values}).check_settings()
    if resume and (out is None or overwrite):
        raise InputError("resume goes on in the folder of an earlier comparison; give out, and leave overwrite off")
    check_out(out, overwrite=overwrite or resume)

    draws = Draws(
        source,
        {"labels": labels, "fold": fold, "strict": strict, "cache_dir": cache_dir},
        test_per_class,
    )
    if isinstance(source, ImageDataset):
        _refuse_draws(
            image_size=image_size,
            labels_per_class=labels_per_class,
            labels=labels,
            test_per_class=test_per_class,
            fold=fold,
        )
    entered = enter(
        source,
        methods=names,
        rungs=rungs,
        net=net,
        image_size=image_size,
        fold=fold,
        strict=strict,
        cache_dir=cache_dir,
        progress=progress,
        **({"device": extra["device"]} if "device" in extra else {}),
    )
    last = entered.contenders[-1]
    first = draws(last, sizes[0], seed_list[0], progress=progress)
    for size in sizes:
        # Too large a number is told now, not after hours of training, and one too small to choose by.
        data = first if size == sizes[0] else draws(last, size, seed_list[0])
        for who in entered.contenders:
            tried = combinations(who.method, options)
            for values in tried if len(tried) > 1 else ():
                check_held_out(who.make(**{**given, **_own(who.method, extra), **values}), data)
    for who in entered.contenders:
        # All of them now: an hour later, there may be other images or labels.
        draws(who, sizes[0], seed_list[0])
    arguments = {
        "source": source if isinstance(source, str | Path) else None,
        "methods": names if rungs is None else None,
        "rungs": entered.rungs or None,
        "net": net if net is None or isinstance(net, str) else "module",
        "labels_per_class": None if sizes == [None] else sizes,
        **({} if labels is None else {"labels": str(labels)}),
        "seeds": seed_list,
        "vary": varied,
        "steps": steps,
        "epochs": epochs,
        "budget": budget,
        "image_size": image_size,
        "preset": preset,
        "test_per_class": test_per_class,
        "fold": fold,
        "settings": extra,
        **({"choose": options} if options else {}),
        "strict": strict,
        "check": check,
        **({} if engine == "local" else {"engine": engine}),
    }
    device = str(choose_device(str(extra.get("device", "auto"))))
    config: dict[str, Any] = {
        "source": str(source) if isinstance(source, str | Path) else first.source,
        "command": repeat_command({**arguments, "labels": labels} if isinstance(labels, Mapping) else arguments),
        "arguments": {**arguments, "source": str(source) if isinstance(source, str | Path) else first.source},
        "settings": {},
        **environment(device),
        # A training on a cluster has one CPU.
        **({} if engine == "local" else {"threads": 1}),
        "data": {},
        "fingerprint": first.fingerprint,
        "check": None,
        "rungs": entered.rungs,
        "embedded": entered.embedded,
    }
    folder = RunFolder(out, first.name, overwrite=overwrite, resume=resume)
    try:
        finished = folder.finished(config) if resume else {}
        if check and config["check"] is None:
            images = first
            if first.is_features and entered.embedded:
                # Features show no copies: looked at is what they were made of, in the same draw. What a net looks at
                # in 224 pixels a side takes fifty times as long to look through, and shows no more copies.
                side = None if last.embedded_size is None else min(last.embedded_size, _CHECKED_SIDE)
                seen = replace(last, source=source, image_size=side)
                images = draws(seen, sizes[0], seed_list[0], progress=progress)
            config["check"] = check_dataset(images).to_dict()
    except BaseException:
        folder.discard()
        raise
    plan = [(seed, size, who) for seed in seed_list for size in sizes for who in entered.contenders]
    order = [name_of(who.name, first.labels_per_class if size is None else size, seed) for seed, size, who in plan]

    def place(run: Run) -> int:
        name = run_name(run)
        return order.index(name) if name in order else len(order)

    # All that was finished before is part of it from the beginning, whatever comes of the rest.
    comparison = Comparison(first.class_names, config, sorted(finished.values(), key=place), folder.path)
    signals = StopSignals()

    def todo() -> Iterator[tuple[Training, ImageDataset]]:
        drawn: tuple[Any, ImageDataset] | None = None
        for number, (seed, size, who) in enumerate(plan, 1):
            states = _states(seed, seed_list[0], varied)
            wanted = (states["random_state"], size, who.source, who.image_size)
            if drawn is None or drawn[0] != wanted:
                drawn = (wanted, draws(who, size, states["random_state"]))
            data = drawn[1]
            if not np.array_equal(data.test_labels, first.test_labels):
                raise InputError(f"{who.name} does not see the same test images as the others; embed the source anew")
            if order[number - 1] in finished:
                continue
            summary = config["data"][_draw_name(data.labels_per_class, states["random_state"])] = data.summary()
            candidates = combinations(who.method, options)
            own = {**given, **_own(who.method, extra)}
            drawn_from = summary["fingerprint"]
            yield Training(number, who, size, data.labels_per_class, seed, states, own, candidates, drawn_from), data

    listen = functools.partial(
        Listener,
        runs=len(plan),
        comparison=comparison,
        folder=folder,
        observer=observer,
        watching=watching,
        resume=resume,
    )

    def conclude() -> None:
        if comparison.runs:
            # Side by side, they end in any order.
            comparison.runs.sort(key=place)
            folder.write_results(comparison)
            if on_finished is not None:
                on_finished(comparison)

    try:
        with signals:
            do(Work(todo(), draws, listen, checkpoint_every, device), engine)
        conclude()
    except (KeyboardInterrupt, Interrupted) as stop:
        # Who stops it again does not wait for the page; what was finished is kept, and that is told.
        with contextlib.suppress(KeyboardInterrupt):
            conclude()
        code = stop.code if isinstance(stop, Interrupted) else signals.exit_code
        raise _stopped(len(comparison.runs), len(plan), folder, code) from stop
    except InputError:
        # What goes wrong in the same way again is not worth going on with. A pool that cannot be reached, or memory
        # that others have taken, does not: what was learned until then is kept.
        if not comparison.runs and not folder.was_in_the_midst:
            folder.discard()
        with contextlib.suppress(OSError):
            conclude()
        raise
    except Exception:
        # The error that ended it says more than one that may follow from it.
        with contextlib.suppress(OSError):
            conclude()
        raise
    finally:
        folder.close()
    return comparison


def _stopped(done: int, all_runs: int, folder: RunFolder, code: int) -> Interrupted:
    continued = folder.has_checkpoints
    if not done and not continued:
        folder.discard()
        message = "stopped before the first training was finished; nothing was written"
        if folder.has_replaced:
            message += f", and the earlier comparison in {folder.path} is gone"
        return Interrupted(message, code=code)
    message = f"stopped; {done} of {all_runs} trainings were finished and are kept in {folder.path}"
    # After the last one, the checkpoint is that of a training which was finished.
    if continued and done < all_runs:
        message += ", and so is what the next one has reached"
    return Interrupted(message, code=code, folder=folder.path)


def _methods_of(rungs: Sequence[str] | str) -> set[str]:
    """Return the methods of rungs, whose settings are checked before anything is read."""
    chosen = list(RUNGS) if rungs in ("all", ["all"]) else [rungs] if isinstance(rungs, str) else rungs
    return {method_name(type(RUNGS[name].make())) for name in chosen if name in RUNGS} or {"supervised"}


def _methods(methods: Sequence[str] | str | None) -> list[str]:
    chosen = list(BASIC_METHODS) if methods is None else [methods] if isinstance(methods, str) else list(methods)
    if chosen == ["all"]:
        chosen = list(METHODS)
    if not chosen:
        raise InputError(f"no method is given; choose of {', '.join(METHODS)}")
    return list(dict.fromkeys(method_name(type(make_method(name))) for name in chosen))


def _label_counts(labels_per_class: int | Sequence[int] | None) -> list[int | None]:
    if labels_per_class is None:
        return [None]
    counts = _whole_numbers(labels_per_class)
    if not counts or min(counts) < 1:
        raise InputError(f"labels_per_class={labels_per_class!r} is not one or several whole numbers of at least 1")
    return [*counts]


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = _whole_numbers(seeds)
    if chosen and isinstance(seeds, Real):
        chosen = list(range(chosen[0]))
    if not chosen or min(chosen) < 0:
        raise InputError(f"seeds={seeds!r} is neither a number of seeds of at least 1 nor a list of seeds from 0 on")
    return chosen


def _whole_numbers(given: Any) -> list[int]:
    """Return a number or several, each once, of NumPy's kinds too; none where one is not whole."""
    values: list[Any] = [given] if isinstance(given, Real) else list(given)
    if any(not isinstance(value, Real) or not float(value).is_integer() for value in values):
        return []
    return list(dict.fromkeys(int(value) for value in values))


def _varied(vary: Sequence[str] | str) -> list[str]:
    chosen = [vary] if isinstance(vary, str) else list(vary)
    for name in chosen:
        if name not in VARIED:
            raise InputError(f"vary={name!r} is none of {', '.join(VARIED)}{nearest(str(name), VARIED)}")
    if not chosen:
        raise InputError(f"nothing is to vary from seed to seed; give some of {', '.join(VARIED)}")
    return [name for name in VARIED if name in chosen]


def _states(seed: int, first: int, varied: list[str]) -> dict[str, Any]:
    """Return what a method's randomness follows from: one number where all of it varies together."""
    labels, weights, order = (seed if name in varied else first for name in VARIED)
    apart = {"weights_seed": weights, "order_seed": order} if {weights, order} != {labels} else {}
    return {"random_state": labels, **apart}


def _own(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(METHODS[name])}
    return {setting: value for setting, value in settings.items() if setting in known}


def _check_settings(names: list[str], given: dict[str, Any], extra: dict[str, Any]) -> None:
    known = sorted({field.name for name in names for field in fields(METHODS[name])})
    for setting in extra:
        if setting not in known:
            raise InputError(f"none of {', '.join(names)} has a setting {setting!r}{nearest(setting, known)}")
        seeds = {"random_state": "seeds", "weights_seed": "seeds and vary", "order_seed": "seeds and vary"}
        if setting in given or setting in seeds or setting in ("steps", "epochs", "budget", "preset"):
            option = seeds.get(setting, setting)
            raise InputError(f"{setting!r} is no extra setting; give {option} itself")
    for name in names:
        make_method(name, **given, **_own(name, extra)).check_settings()


def _refuse_draws(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} cannot change a data set that is already loaded; give it to load_dataset")


def _draw_name(size: int | None, seed: int) -> str:
    return f"{'all' if size is None else size} labels per class, seed {seed}"
