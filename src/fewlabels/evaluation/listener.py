"""Who is told of a training: the run folder, the observer of the comparison, and trackers."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Self

from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run_folder import RunFolder, name_of
from fewlabels.evaluation.training import Trained, Training
from fewlabels.evaluation.watched import WatchedRun, Watching
from fewlabels.training.checkpoint import holds_training
from fewlabels.training.monitor import Event, Observer


class Listener:
    """Writes down what happens in one training and passes it on; entered, and left with the error that ended it.

    Parameters
    ----------
    training : Training
    runs : int
        How many trainings there are.
    comparison : Comparison
        Which it belongs to.
    folder : RunFolder
        Where that is kept.
    observer : callable, optional
        Is called with each event and the facts of the training.
    watching : Watching, optional
        Begins a tracker's run for each combination of hyper-parameters that is trained.
    resume : bool
        The comparison goes on with that of an earlier process.
    at_once : bool
        Other trainings go on at the same time.
    """

    def __init__(
        self,
        training: Training,
        runs: int,
        comparison: Comparison,
        folder: RunFolder,
        *,
        observer: Observer | None = None,
        watching: Watching | None = None,
        resume: bool = False,
        at_once: bool = False,
    ) -> None:
        self.training, self.comparison, self.folder = training, comparison, folder
        self.checkpoint = folder.checkpoint(name_of(training.who.name, training.labels_per_class, training.seed))
        self._facts = {
            "method": training.who.name,
            "labels_per_class": training.labels_per_class,
            "seed": training.seed,
            "run": training.number,
            "runs": runs,
        }
        self._at_once = at_once
        self._observer, self._watching = observer, watching
        self._watched: dict[int, WatchedRun] = {}
        self._ended = contextlib.ExitStack()
        # Asked before the training begins, and writes there itself.
        self._resumed = [
            resume and holds_training(training.place(self.checkpoint, which))
            for which in range(len(training.candidates))
        ]

    def __enter__(self) -> Self:
        self.folder.begin(self.comparison.config)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.__exit__(kind, error, trace)

    def __call__(self, which: int, event: Event) -> None:
        """Take note of an event in the training of a combination of hyper-parameters."""
        tried = {"tried": which} if len(self.training.candidates) > 1 else {}
        self.folder.add_event({**self._facts, **tried, **event})
        if self._observer is not None:
            self._observer({**event, **self._facts, "title": _title(self._facts), "at_once": self._at_once})
        if (watched := self._watch(which)) is not None:
            watched(event)

    def conclude(self, trained: Trained) -> None:
        """Keep what came of the training."""
        self.comparison.config["settings"][self.training.who.name] = trained.run.settings
        if (watched := self._watch(trained.used)) is not None:
            watched.conclude(trained.run, self.comparison.class_names)
        self.folder.add_run(self.comparison, trained.run, trained.method)

    def _watch(self, which: int) -> WatchedRun | None:
        if self._watching is None:
            return None
        if which not in self._watched:
            watch = self._watching.begin(
                self.folder.path,
                self.training.place(self.checkpoint, which).name,
                settings=self.training.make(which).resolved_settings(),
                facts={name: self._facts[name] for name in ("method", "labels_per_class", "seed")},
                resumed=self._resumed[which],
            )
            self._watched[which] = self._ended.enter_context(watch)
        return self._watched[which]


def _title(facts: dict[str, Any]) -> str:
    labels = "" if facts["labels_per_class"] is None else f" {facts['labels_per_class']}"
    seed = "" if facts["seed"] == 0 else f" seed {facts['seed']}"
    return f"({facts['run']}/{facts['runs']}) {facts['method']}{labels}{seed}"
