"""A training that trackers watch: what of its events they are told, and when a step has been told already."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fewlabels.evaluation import Comparison, Run
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.storage.errors import InputError, Interrupted, TrainingWarning, nearest
from fewlabels.storage.wording import first_line
from fewlabels.tracking import mlflow, tensorboard
from fewlabels.tracking.tracker import FAILED, FINISHED, STOPPED, Entry, Tracker
from fewlabels.training.monitor import Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each name stands for: how to see that it can be used, and what begins a run.
TRACKERS: dict[str, tuple[Callable[[], None], Callable[[Entry], Tracker]]] = {
    "tensorboard": (tensorboard.check, tensorboard.TensorBoard),
    "mlflow": (mlflow.check, mlflow.Mlflow),
}
_NAMES = {
    "loss": "loss/sum",
    "learning_rate": "learning_rate",
    "gradient_images": "gradient_images",
    "pool_admitted": "pool_admitted",
    "classes_guessed": "classes_guessed",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "seconds": "seconds",
}
_NO_LOSSES = ("stage", "stage_number", "stage_count", "step", "steps", "labels_per_class", "seed", "run", "runs")
_CONFUSION = "test/confusion"


def track(
    names: Sequence[str] | str,
    folder: str | Path,
    *,
    name: str = "fit",
    method: SemiSupervisedClassifier | None = None,
    resumed: bool = False,
) -> TrackedRun:
    """Begin a run with trackers; it is an observer for `fit`, and a context manager that ends the run.

    Parameters
    ----------
    names : sequence of str
        Keys of `TRACKERS`: "tensorboard" (event files in `FOLDER/tensorboard/NAME`), "mlflow" (in the store of
        `MLFLOW_TRACKING_URI`, else `mlflow.db` in the folder that is worked in).
    folder : str or Path
        What the run belongs to.
    name : str
        Of the run.
    method : SemiSupervisedClassifier, optional
        Whose hyper-parameters to keep.
    resumed : bool
        Go on with the run of an earlier process that had the same folder and name: what is there is not written again.

    Raises
    ------
    InputError
        If a tracker is not known, its package is not installed, or its store does not answer.

    Examples
    --------
    >>> import fewlabels, tempfile
    >>> data = fewlabels.load_dataset("digits")
    >>> method = fewlabels.Supervised(steps=3, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with track("tensorboard", folder, method=method) as run:
    ...         _ = method.fit(data.labeled, data.labels, observer=run)
    ...         run.conclude_fit(method)
    ...     [path.name for path in Path(folder, "tensorboard", "fit").iterdir()][0][:19]
    'events.out.tfevents'
    """
    settings = {} if method is None else method.resolved_settings()
    facts = {} if method is None else {"method": type(method).__name__}
    entry = Entry(name, Path(folder), settings, facts, resumed)
    begun = [_begun(tracker, entry) for tracker in check_trackers(names)]
    return TrackedRun([tracker for tracker in begun if tracker is not None])


def check_trackers(names: Sequence[str] | str | None) -> list[str]:
    """Return the names of trackers, each once, or raise `InputError` if one cannot be used.

    Examples
    --------
    >>> check_trackers(["tensorboard", "tensorboard"])
    ['tensorboard']
    """
    chosen = [names] if isinstance(names, str) else list(names or [])
    for name in chosen:
        if name not in TRACKERS:
            raise InputError(f"unknown tracker {name!r}{nearest(str(name), TRACKERS)} (known: {', '.join(TRACKERS)})")
    for name in dict.fromkeys(chosen):
        TRACKERS[name][0]()
    return list(dict.fromkeys(chosen))


class TrackedRun:
    """Tells trackers of one training.

    Stages follow each other on one axis of steps. What a tracker holds already of a run that is resumed is not told
    again; where training goes back to an earlier step, it takes back what came after. A tracker that fails is
    let go with a warning, and training goes on; one that cannot keep a picture or a file is still told the numbers.

    Parameters
    ----------
    trackers : sequence of Tracker
        Each has begun the run.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = list(trackers)
        self._stage: tuple[Any, Any] | None = None
        self._before = self._last = 0
        self._told: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        status = FINISHED if error is None else STOPPED if stopped else FAILED
        self._each(lambda tracker: tracker.end(status))

    def __call__(self, event: Event) -> None:
        """Tell of an event of `fewlabels.training.monitor.Monitor`."""
        stage = (event["stage_number"], event["stage"])
        if stage != self._stage:
            self._before, self._stage, self._last = self._before + self._last, stage, 0
        self._last = event["step"]
        if event["step"]:
            self._tell(_named(event), self._before + event["step"])

    def conclude_fit(self, method: SemiSupervisedClassifier) -> None:
        """Tell what a fit ended with; nothing of this comes from test images."""
        values = {"validation_accuracy": method.validation_accuracy_, "fit_seconds": method.fit_seconds_}
        self._tell({f"final/{name}": value for name, value in values.items()}, self._before + self._last)

    def conclude(self, run: Run, class_names: Sequence[str]) -> None:
        """Tell what a run of a comparison ended with: the figures on the test images, which the evaluator measured.

        Parameters
        ----------
        run : Run
            Measured.
        class_names : sequence of str
            Names of the classes.
        """
        step = self._before + self._last
        values = {name: value for name, value in {**run.row(), **run.trust_row()}.items() if _is_number(value)}
        for name in ("labels_per_class", "seed"):
            values.pop(name, None)
        self._tell({f"final/{name}": float(value) for name, value in values.items()}, step)
        if not self.trackers:
            return

        @functools.cache
        def figure() -> Figure:
            # Takes a fifth of a second, and of starting a process a sixth: for whoever tracks alone.
            from fewlabels.tracking.confusion import confusion_figure

            return confusion_figure(run.test_labels, run.guesses, class_names)

        def draw(tracker: Tracker) -> None:
            if not {_CONFUSION, "test_confusion.png"} & set(tracker.stored):
                tracker.figure(_CONFUSION, figure(), step)

        self._each(draw, lets_go=False)

    def begin_again(self) -> None:
        """Take back all that was told."""
        self._told, self._stage, self._before, self._last = {}, None, 0, 0

        def take_back(tracker: Tracker) -> None:
            if tracker.stored:
                tracker.take_back(0)
                tracker.stored = {}

        self._each(take_back)

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        back = any(self._told.get(name, -1) >= step for name in finite)
        if back:
            self._told = {name: min(last, step - 1) for name, last in self._told.items()}
        self._told |= dict.fromkeys(finite, step)

        def tell(tracker: Tracker) -> None:
            if back:
                tracker.take_back(step)
                tracker.stored = {name: min(last, step - 1) for name, last in tracker.stored.items()}
            new = {name: value for name, value in finite.items() if tracker.stored.get(name, -1) < step}
            if new:
                tracker.scalars(new, step)

        self._each(tell)

    def _each(self, do: Callable[[Tracker], None], *, lets_go: bool = True) -> None:
        for tracker in list(self.trackers):
            try:
                do(tracker)
            except Exception as error:  # of any kind: a disk, a database, a network
                if lets_go:
                    self.trackers.remove(tracker)
                _warn_of(
                    type(tracker).__name__.lower(), error, "is told no more" if lets_go else "keeps no picture or file"
                )


def _begun(name: str, entry: Entry) -> Tracker | None:
    """Return what a tracker is told through, or None where it fails: the training goes on."""
    try:
        return TRACKERS[name][1](entry)
    except Exception as error:  # of any kind, as above
        _warn_of(name, error, "is told no more")
        return None


def _warn_of(name: str, error: Exception, what: str) -> None:
    warnings.warn(f"{name} {what} of this training: {first_line(error)}", TrainingWarning, stacklevel=4)


class TrackedComparison:
    """Begins a run with trackers for each training of a comparison, and one for the comparison itself.

    Parameters
    ----------
    names : sequence of str, optional
        Keys of `TRACKERS`; with none, nothing is told.
    resumed : bool
        The comparison goes on with that of an earlier process.

    Raises
    ------
    InputError
        If one cannot be used.
    """

    def __init__(self, names: Sequence[str] | str | None = None, *, resumed: bool = False) -> None:
        self._names = check_trackers(names)
        self._resumed = resumed
        self._whole: TrackedRun | None = None
        self._parents: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._whole is not None:
            self._whole.__exit__(kind, error, trace)

    def begin(
        self, folder: Path, name: str, *, settings: Mapping[str, Any], facts: Mapping[str, Any], resumed: bool
    ) -> TrackedRun:
        """Begin the run of one training; see `Entry` for the parameters."""
        self._begin_whole(folder)
        words = {key: str(value) for key, value in facts.items()}
        entries = {
            tracker: Entry(name, folder, settings, words, resumed, parent) for tracker, parent in self._parents.items()
        }
        found = [_begun(tracker, entry) for tracker, entry in entries.items()]
        return TrackedRun([tracker for tracker in found if tracker is not None])

    def conclude(self, comparison: Comparison) -> None:
        """Tell the learning curves, test accuracy over labels of each class, and keep report and table."""
        if comparison.folder is None:
            return
        # An earlier process may have ended between the last training and this.
        whole = self._begin_whole(comparison.folder)
        # What was told when an earlier process was stopped may have been of fewer runs.
        whole.begin_again()
        # A step below one that was told takes that back.
        for group in sorted(comparison.groups, key=lambda group: group.labels_per_class or 0):
            for standing in group.standings:
                values = {f"test_accuracy/{standing.method}": standing.test_accuracy}
                whole._tell(values, group.labels_per_class or 0)
        for name in ("report.html", "results.csv"):
            path = comparison.folder / name
            if path.exists():
                whole._each(lambda tracker, path=path: tracker.file(path), lets_go=False)  # type: ignore[misc]

    def _begin_whole(self, folder: Path) -> TrackedRun:
        if self._whole is None:
            self._whole = TrackedRun([])
            for tracker in self._names:
                if (whole := _begun(tracker, Entry("comparison", folder, resumed=self._resumed))) is not None:
                    self._whole.trackers.append(whole)
                    self._parents[tracker] = whole.run
        return self._whole


def _named(event: Event) -> dict[str, float]:
    """Return the numbers of an event under the names that trackers show.

    Examples
    --------
    >>> _named({"stage": "classifier", "step": 5, "loss": 1.0, "supervised": 0.75, "validation_accuracy": 0.5})
    {'loss/sum': 1.0, 'loss/supervised': 0.75, 'accuracy/validation': 0.5}
    """
    return {
        _NAMES.get(name, f"loss/{name}"): float(value)
        for name, value in event.items()
        if name not in _NO_LOSSES and _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
