"""Several methods on the same images and the same draws of labels, each measured once at the end."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewlabels.data import ImageDataset, load_dataset
from fewlabels.evaluation.measure import accuracy_facts
from fewlabels.evaluation.records import COLUMNS, Comparison, Run, plain
from fewlabels.methods import METHODS, SemiSupervisedClassifier, make_method
from fewlabels.methods.reconstruction import AutoencoderClassifier
from fewlabels.storage.atomic import write_bytes, write_json, write_text
from fewlabels.storage.errors import InputError, Interrupted
from fewlabels.training.monitor import Event, Observer

_SHOWN = 10


def compare(
    source: Any = "digits",
    *,
    methods: Sequence[str] | None = None,
    labels_per_class: int | Sequence[int] | None = None,
    seeds: int | Sequence[int] = 1,
    steps: int | None = None,
    epochs: float | None = None,
    budget: str | float | None = None,
    image_size: int | None = None,
    preset: str = "default",
    test_per_class: int | None = None,
    fold: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    settings: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = False,
    on_finished: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Train methods, measure them on the test images, and write everything into one folder.

    All methods see the same labeled images, the same images held out, and the same pool. The test images are
    handed over once, when a model is final.

    Parameters
    ----------
    source : Any
        As for `load_dataset`.
    methods : sequence of str, optional
        Names; all when not given.
    labels_per_class : int or sequence of int, optional
        How many labels of each class to give; several are tried one after the other.
    seeds : int or sequence of int
        How many repetitions, or which; a seed is the draw of labels and of the initial weights.
    steps, epochs, budget : optional
        Length of each training, see `SemiSupervisedClassifier`.
    image_size, test_per_class, fold, strict, cache_dir, progress
        As for `load_dataset`.
    preset : {"default", "notebook"}
        For all methods.
    out : str or Path, optional
        The run folder; a new one below `runs/` when not given.
    overwrite : bool
        Replace an earlier comparison in `out`.
    settings : mapping, optional
        More hyper-parameters; one that only some methods have is given to those.
    observer : callable, optional
        Is called with each progress event.
    on_finished : callable, optional
        Is called with the comparison at the end, also when it is interrupted after a finished training.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If anything given cannot be used; nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = compare("digits", methods=["supervised"], steps=20, out=folder + "/run")
    >>> found.table()[0]["method"]
    'supervised'
    """
    names = _method_names(methods)
    counts: list[int | None] = (
        list(labels_per_class) if isinstance(labels_per_class, Sequence) else [labels_per_class]
    )
    seed_list = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seed_list or not counts:
        raise InputError("nothing to compare: give at least one seed and one number of labels per class")
    length = {"steps": steps, "epochs": epochs, "budget": budget}
    given = dict(settings or {})
    learners = {name: _learner(name, names, length, preset, given, seed_list[0]) for name in names}
    load = {"image_size": image_size, "test_per_class": test_per_class, "fold": fold, "strict": strict}
    first = _load(source, counts[0], seed_list[0], load, cache_dir, progress)
    for count in counts[1:]:
        _load(source, count, seed_list[0], load, cache_dir, progress)  # fewer images than asked for show now
    folder = _run_folder(out, first.name, overwrite)
    config = {
        "source": first.source,
        "methods": names,
        "labels_per_class": counts,
        "seeds": seed_list,
        **length,
        **load,
        "preset": preset,
        "settings": plain(given),
        "resolved": {name: plain(_resolved(learner)) for name, learner in learners.items()},
        "command": _command(first.source, names, counts, seed_list, length, load, preset, given),
        "versions": _versions(),
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    comparison = Comparison(config, first.summary(), [], first.test, folder)
    write_json(folder / "config.json", plain(config))
    total = len(seed_list) * len(counts) * len(names)
    try:
        with (folder / "metrics.jsonl").open("w", encoding="utf-8") as metrics:
            for seed in seed_list:
                for count in counts:
                    data = _load(source, count, seed, load, cache_dir, progress)
                    for name in names:
                        learner = _learner(name, names, length, preset, given, seed)
                        tags = {"method": name, "labels_per_class": count, "seed": seed}
                        position = {"run": len(comparison.runs) + 1, "runs": total}

                        def tell(event: Event, tags: Event = tags, position: Event = position) -> None:
                            metrics.write(json.dumps(plain(tags | event)) + "\n")
                            metrics.flush()
                            if observer is not None:
                                observer({**event, **tags, **position, "title": _title(tags, position)})

                        validation = None if data.validation is None else (data.validation, data.validation_labels)
                        learner.fit(
                            data.labeled, data.labels, unlabeled=data.pool, validation=validation, observer=tell
                        )
                        run = _measure(learner, data, tags)
                        comparison.runs.append(run)
                        _keep(comparison, run, learner)
    except KeyboardInterrupt as stop:
        done = len(comparison.runs)
        if done and on_finished is not None:
            on_finished(comparison)
        raise Interrupted(
            f"stopped with {done} of {total} trainings done; "
            + (f"their results and report are in {folder}" if done else f"no results; settings are in {folder}")
        ) from stop
    if on_finished is not None:
        on_finished(comparison)
    return comparison


def _method_names(methods: Sequence[str] | None) -> list[str]:
    if methods is None:
        return list(METHODS)
    names = []
    for name in [methods] if isinstance(methods, str) else methods:
        make_method(name)
        names.append(next(key for key, method in METHODS.items() if name in (key, method.__name__)))
    if not names:
        raise InputError(f"no method is named; known: {', '.join(METHODS)}")
    return list(dict.fromkeys(names))


def _learner(
    name: str, names: list[str], length: dict[str, Any], preset: str, given: dict[str, Any], seed: int
) -> SemiSupervisedClassifier:
    own = dict(given)
    for setting in given:
        knowing = [other for other in names if setting in make_method(other).get_params()]
        if knowing and name not in knowing:
            del own[setting]  # another method's setting; one that none knows is refused by make_method
    return make_method(name, preset=preset, random_state=seed, **length, **own).check_settings()


def _resolved(learner: SemiSupervisedClassifier) -> dict[str, Any]:
    return {key: value for key, value in learner._resolved().get_params().items() if key != "random_state"}


def _load(
    source: Any, count: int | None, seed: int, load: dict[str, Any], cache_dir: str | Path | None, progress: bool
) -> ImageDataset:
    if isinstance(source, ImageDataset):
        return source
    return load_dataset(
        source, labels_per_class=count, random_state=seed, cache_dir=cache_dir, progress=progress, **load
    )


def _run_folder(out: str | Path | None, name: str, overwrite: bool) -> Path:
    if out is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = Path("runs") / f"{name}-{stamp}"
    else:
        folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder")
    if folder.is_dir() and any(folder.iterdir()):
        known = (folder / "config.json").exists()
        if not (known and overwrite):
            hint = "add --overwrite to replace it, or give another folder" if known else "give a new or empty folder"
            raise InputError(f"{folder} already holds {'a run' if known else 'files'}; {hint}")
        for name in ("results.csv", "results.json", "report.html", "metrics.jsonl", "config.json"):
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _measure(learner: SemiSupervisedClassifier, data: ImageDataset, tags: dict[str, Any]) -> Run:
    taught = np.setdiff1d(np.arange(len(data.labels)), learner.validation_rows_)
    train = float((learner.predict(data.labeled.take(taught)) == data.labels[taught]).mean())
    # Classes without a label keep a probability of zero, so that columns are the data set's classes.
    probabilities = np.zeros((len(data.test), len(data.class_names)), np.float32)
    probabilities[:, learner.classes_] = learner.predict_proba(data.test)
    facts = accuracy_facts(probabilities.argmax(1), data.test_labels)
    rounds = [dict(entry) for entry in getattr(learner, "rounds_", [])]
    for entry, labels in zip(rounds, getattr(learner, "round_pseudo_labels_", []), strict=True):
        known = (labels >= 0) & (data.diagnostics.pool_labels >= 0)
        truth = data.diagnostics.pool_labels[known]
        entry["precision"] = float((learner.classes_[labels[known]] == truth).mean()) if known.any() else None
    shown, error = None, None
    if isinstance(learner, AutoencoderClassifier):
        some = data.test[:_SHOWN]
        shown = (some, learner.reconstruct(some))
        error = learner.reconstruction_error(data.test[:1000])
    return Run(
        **tags,
        train_accuracy=train,
        validation_accuracy=learner.validation_accuracy_,
        test_accuracy=facts["test_accuracy"],
        test_low=facts["test_low"],
        test_high=facts["test_high"],
        fit_seconds=learner.fit_seconds_,
        gradient_images=learner.gradient_images_,
        parameters=learner.n_parameters_,
        settings=learner.settings_,
        stage_steps=learner.stage_steps_,
        architecture=learner.describe(),
        summary=(type(learner).__doc__ or "").strip().splitlines()[0],
        test_probabilities=probabilities,
        test_labels=data.test_labels,
        history=learner.history_,
        rounds=rounds,
        reconstructions=shown,
        reconstruction_error=error,
        temperature=learner.temperature_,
    )


def _keep(comparison: Comparison, run: Run, learner: SemiSupervisedClassifier) -> None:
    """Write a finished run at once, so that an interruption loses nothing that is done."""
    folder = comparison.folder
    learner.save(
        folder / "models" / run.key, class_names=[comparison.class_names[index] for index in learner.classes_]
    )
    content = io.BytesIO()
    np.savez_compressed(content, probabilities=run.test_probabilities, labels=run.test_labels)
    write_bytes(folder / "predictions" / f"{run.key}.npz", content.getvalue())
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in comparison.table():
        missing = {key: "" for key, value in row.items() if isinstance(value, float) and math.isnan(value)}
        writer.writerow(row | missing)
    write_text(folder / "results.csv", text.getvalue())
    write_json(folder / "results.json", plain(comparison.to_dict()))


def _title(tags: dict[str, Any], position: dict[str, Any]) -> str:
    return f"[{position['run']}/{position['runs']}] {tags['method']}"


def _versions() -> dict[str, str]:
    import sklearn

    from fewlabels import __version__

    return {
        "fewlabels": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


def _command(
    source: str,
    names: list[str],
    counts: list[int | None],
    seeds: list[int],
    length: dict[str, Any],
    load: dict[str, Any],
    preset: str,
    given: dict[str, Any],
) -> str:
    words = ["fewlabels", "compare", source]
    if names != list(METHODS):
        words += ["--methods", ",".join(names)]
    if counts != [None]:
        words += ["--labels-per-class", ",".join(str(count) for count in counts)]
    if seeds != [0]:
        words += ["--seeds", str(len(seeds))]
    for name, value in {**length, **{key: load[key] for key in ("image_size", "test_per_class", "fold")}}.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if load["strict"]:
        words.append("--strict")
    if preset != "default":
        words += ["--preset", preset]
    for name, value in given.items():
        words += ["--set", f"{name}={json.dumps(value) if not isinstance(value, str) else value}"]
    return shlex.join(words)
