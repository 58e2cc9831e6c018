"""Everything of a comparison in one folder, complete after each finished run."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import shutil
import time
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np

from fewlabels.evaluation.conditions import conditions_of, differences
from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run import COLUMNS, Run
from fewlabels.evaluation.run_record import read_record, write_record
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.methods.card import measurement
from fewlabels.methods.saved import save_model
from fewlabels.storage.atomic import remove_leftovers, write_bytes, write_json, write_text
from fewlabels.storage.errors import InputError, TrainingWarning
from fewlabels.storage.hub import is_hub_address
from fewlabels.storage.lock import FolderLock
from fewlabels.storage.plain import plain
from fewlabels.storage.visible import check_encodable

# By the last one a comparison is known: it goes last.
_FILES = ("metrics.jsonl", "results.csv", "results.json", "report.html", "config.json")
_FOLDERS = ("models", "predictions", "records", "checkpoints", "tensorboard")
_ASIDE = ".lock"
# Where trainings are done changes nothing of what they come to.
_MAY_DIFFER = ("engine",)
_NO_COMPARISON = "{} holds other files and no comparison; give a new or empty folder"


class RunFolder:
    """Writes a comparison as it goes.

    Nothing is written before `begin`, which the first event of a training calls: input that turns out bad
    before leaves no trace. A new folder alone is made at once, so that no other comparison takes its name; `discard`
    takes it away.

    Parameters
    ----------
    out : str, Path or None
        The folder; None makes a new one, `./runs/<name>-<date>-<time>`.
    name : str
        Of the data set.
    overwrite : bool
        Replace an earlier comparison there.
    resume : bool
        Go on with an earlier comparison there, if there is one.

    Attributes
    ----------
    has_replaced : bool
        Whether an earlier comparison was removed.

    Raises
    ------
    InputError
        If `out` is a file, holds files that are no comparison, or an earlier comparison and `overwrite` is
        neither `overwrite` nor `resume` is set.
    """

    def __init__(self, out: str | Path | None, name: str, *, overwrite: bool = False, resume: bool = False) -> None:
        self.data_name = name
        self._began = False
        self._overwrite, self._resume = overwrite, resume
        self.has_replaced = False
        self._was_there = False
        self._made: list[Path] = []
        self.path = self._new(name) if out is None else Path(out)
        self._metrics: IO[str] | None = None
        self._has_warned = False
        self._lock: FolderLock | None = None
        check_out(out, overwrite=overwrite or resume)

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder, clear an earlier comparison, write `config.json`; later calls do nothing."""
        if self._began:
            return
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._hold()
        # While the data were read, another comparison may have been written here.
        check_out(self.path, overwrite=self._overwrite or self._resume)
        # Stopped from here on, even while it is cleared, the folder is one that `discard` and `overwrite` take.
        self._began, self._made = True, self._made + missing
        if not self._resume:
            self.has_replaced = _described(self.path) is not None
            self._clear()
        write_json(self.path / "config.json", plain(config))
        self._metrics = (self.path / "metrics.jsonl").open("a" if self._resume else "w", encoding="utf-8")

    def finished(self, config: dict[str, Any]) -> dict[str, Run]:
        """Return the runs that an earlier process has finished here, by `run_name`; none where there is nothing.

        Parameters
        ----------
        config : dict
            Of the comparison; it is given what the earlier one had found out of data and settings.

        Raises
        ------
        InputError
            If the earlier comparison had other arguments or other data, or another process works in the folder.
        """
        if not (self.path / "config.json").exists():
            return {}
        self._was_there = True
        self._hold()
        try:
            return self._finished(config)
        except BaseException:
            self.close()
            raise

    def _finished(self, config: dict[str, Any]) -> dict[str, Run]:
        for folder in (self.path, *(self.path / name for name in _FOLDERS)):
            remove_leftovers(folder)
        before = _described(self.path)
        if before is None:
            raise InputError(_NO_COMPARISON.format(self.path))
        was, now = before["arguments"], plain(config["arguments"])
        # Some are written down only where they are given.
        for name in {**was, **now}:
            # What is a number in Python may be text on the command line.
            is_same = was.get(name) == now.get(name) or str(was.get(name)) == str(now.get(name))
            if name not in _MAY_DIFFER and not is_same:
                raise InputError(
                    f"{self.path} was begun with {name}={was.get(name)!r}, not {now.get(name)!r}; give the same "
                    "command to go on, or --overwrite to begin anew"
                )
        # What an older version has begun does not have it.
        if before.get("fingerprint") not in (None, config["fingerprint"]):
            raise InputError(
                f"{self.path} was begun with other images or labels: {config['source']} has changed since; put them "
                "back to go on, or --overwrite to begin anew"
            )
        config["data"], config["settings"] = before["data"], before["settings"]
        config["check"] = before.get("check")
        # Features that were made then are in the cache now.
        if config.get("embedded") and config["embedded"]["seconds"] is None:
            config["embedded"]["seconds"] = (before.get("embedded") or {}).get("seconds")
        found = {path.stem: read_record(path) for path in sorted((self.path / "records").glob("*.json"))}
        runs = {name: run for name, run in found.items() if run is not None and (self.path / "models" / name).is_dir()}
        self._keep_events(set(runs))
        if runs:
            self._keep_conditions(before, config)
        return runs

    def _keep_conditions(self, before: dict[str, Any], config: dict[str, Any]) -> None:
        """Note under which other conditions finished runs were trained, and warn of them."""
        was, now = conditions_of(before), plain(conditions_of(config))
        if earlier := [one for one in (*before.get("earlier", ()), was) if one != now]:
            config["earlier"] = earlier
        if was != now:
            warnings.warn(
                f"{self.path} was begun under other conditions, {differences(was, now)}: seconds of the trainings that "
                "are finished cannot be compared with those to come, and another version may come to other results; "
                "--overwrite begins anew",
                TrainingWarning,
                stacklevel=2,
            )

    def checkpoint(self, name: str) -> Path:
        """Return the folder for the checkpoints of a run."""
        return self.path / "checkpoints" / name

    @property
    def has_checkpoints(self) -> bool:
        """Whether a training of this comparison can be continued here; until it begins, those are of an earlier one."""
        return (self._began or self._was_there) and any((self.path / "checkpoints").glob("*/training.json"))

    @property
    def was_in_the_midst(self) -> bool:
        """Whether a training got so far that a checkpoint was written in the midst of it."""
        return any((self.path / "checkpoints").rglob("at-*.safetensors"))

    def _hold(self) -> None:
        if self._lock is None:
            self._lock = FolderLock(self.path)

    def _keep_events(self, names: set[str]) -> None:
        """Drop the events of runs that were not finished: they come again."""
        path = self.path / "metrics.jsonl"
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                event = json.loads(line)
                if name_of(event["method"], event["labels_per_class"], event["seed"]) in names:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a process that was killed
        write_text(path, "".join(kept))

    def add_event(self, event: dict[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; it can be read at once. A full disk does not end a training."""
        if self._metrics is not None:
            try:
                self._metrics.write(json.dumps(plain(event)) + "\n")
                self._metrics.flush()
            except OSError as error:
                # With the next event it is tried again: there may be room by then.
                if not self._has_warned:
                    self._has_warned = True
                    warnings.warn(
                        f"curves of trainings may have gaps: {error.strerror or error}: {self.path / 'metrics.jsonl'}",
                        TrainingWarning,
                        stacklevel=2,
                    )

    def add_run(self, comparison: Comparison, run: Run, method: SemiSupervisedClassifier) -> None:
        """Write a run's model and predictions, join it to the comparison's runs and write all results."""
        self.begin(comparison.config)
        names = [comparison.class_names[int(index)] for index in method.classes_]
        measured = measurement(self.data_name, run.on_test())
        save_model(method, self.path / "models" / run_name(run), names, [measured])
        packed = io.BytesIO()
        np.savez_compressed(packed, probabilities=run.test_probabilities.astype(np.float32), labels=run.test_labels)
        write_bytes(self.path / "predictions" / f"{run_name(run)}.npz", packed.getvalue())
        comparison.runs.append(run)
        self.write_results(comparison)
        write_record(self.path / "records", run_name(run), run)
        # Of each combination of hyper-parameters that was tried, too.
        for folder in (self.path / "checkpoints").glob(f"{run_name(run)}*"):
            if re.fullmatch(re.escape(run_name(run)) + r"(-\d+)?", folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def write_results(self, comparison: Comparison) -> None:
        """Write `config.json`, `results.json` and `results.csv`, each whole or not at all."""
        write_json(self.path / "config.json", plain(comparison.config))
        write_json(self.path / "results.json", comparison.to_dict())
        write_text(self.path / "results.csv", as_csv(comparison.table()))

    def close(self) -> None:
        """End `metrics.jsonl`."""
        if self._metrics is not None:
            metrics, self._metrics = self._metrics, None
            with contextlib.suppress(OSError):  # of a full disk, which was warned of
                metrics.close()
        with contextlib.suppress(OSError):
            (self.path / "checkpoints").rmdir()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if not self._began:
            self._take_away()

    def discard(self) -> None:
        """Take away what was written, when no run was finished; not what an earlier process has written."""
        self.close()
        if self._was_there:
            return
        if self._began:
            self._clear()
            self._take_away()

    def _take_away(self) -> None:
        """Remove the folders that were made, as far as they are empty."""
        for folder in self._made:
            with contextlib.suppress(FileNotFoundError):
                if any(folder.iterdir()):
                    break
                folder.rmdir()

    def _new(self, name: str) -> Path:
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.") or "data"
        stem = f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}"
        runs = Path("runs")
        missing = [] if runs.exists() else [runs]
        runs.mkdir(exist_ok=True)
        for number in itertools.count(1):
            folder = runs / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):  # what another comparison has made within this second
                folder.mkdir()
                break
        self._made = [folder, *missing]
        return folder

    def _clear(self) -> None:
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)


def check_out(out: str | Path | None, *, overwrite: bool) -> None:
    """Refuse a folder that a comparison cannot be written to."""
    if out is None:
        return
    path = Path(out)
    check_encodable(path)
    if is_hub_address(path):
        raise InputError(f"{path} is a place on the Hub, where models are kept; give a folder for the comparison")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a folder for the comparison")
    if not path.exists() or all(entry.name == _ASIDE for entry in path.iterdir()):
        return
    if _described(path) is None:
        raise InputError(_NO_COMPARISON.format(path))
    if not overwrite:
        raise InputError(
            f"{path} already holds a comparison; give another folder, go on with it by --resume, or "
            "replace it with --overwrite"
        )


def _described(path: Path) -> dict[str, Any] | None:
    """Return what a comparison's folder says of itself; None of another folder, such as a model's."""
    try:
        found = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("arguments"), dict) else None


def run_name(run: Run) -> str:
    """Return '<method>-<labels per class, or all>-<seed>'."""
    return name_of(run.method, run.labels_per_class, run.seed)


def name_of(method: str, labels_per_class: int | None, seed: int) -> str:
    """Return the name of a run.

    Examples
    --------
    >>> name_of("supervised", None, 3)
    'supervised-all-3'
    """
    return f"{method}-{'all' if labels_per_class is None else labels_per_class}-{seed}"


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return rows as CSV with the columns of `results.csv`; None and NaN are empty.

    Examples
    --------
    >>> as_csv([{"method": "supervised", "seed": 0, "test_accuracy": 0.5}]).splitlines()[1]
    'supervised,,0,,,0.5,,,,,'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = [plain(row.get(column)) for column in COLUMNS]
        writer.writerow(["" if v is None else round(v, 6) if isinstance(v, float) else v for v in values])
    return text.getvalue()
