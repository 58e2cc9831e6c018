"""Training the served model again, in a process of its own, watched from here."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from fewlabels.serving.trouble import in_words
from fewlabels.storage.errors import InputError, TrainingWarning
from fewlabels.training.monitor import Event

# How many seconds a process that is asked to end may take.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    state : {"none", "running", "done", "failed"}
        What of it is known.
    text : str
        What it does, or why it failed, in one line.
    step, steps : int
        Of the stage that runs.
    stage, stages : int
        Which stage, of how many.
    accuracy : float or None
        On held-out images, when last looked.
    seconds : float
        Since it began.
    seconds_left : float or None
        As estimated from the steps so far, once there are some.
    notes : tuple of str
        What went wrong, or may have.
    """

    state: str = "none"
    text: str = ""
    step: int = 0
    steps: int = 0
    stage: int = 1
    stages: int = 1
    accuracy: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """How much of it is done, in [0, 1]."""
        if self.state == "done":
            return 1.0
        within = self.step / self.steps if self.steps else 0.0
        return min(1.0, (self.stage - 1 + within) / max(self.stages, 1))


@dataclass
class Retraining:
    """One training at a time in a process of its own; what it tells is kept for whoever asks.

    Parameters
    ----------
    work : callable
        A function of a module, called in the other process with an observer of events and `arguments`; returns a
        sentence on how it went. What it returns must be on the disk by then.
    finished : callable, optional
        Is called here, in a thread, when a training has ended well; the new model is in use once it returns.

    Examples
    --------
    >>> Retraining(print).progress().state
    'none'
    """

    work: Callable[..., str]
    finished: Callable[[], None] | None = None
    _progress: Progress = field(default_factory=Progress)
    _process: Any = None
    _watcher: threading.Thread | None = None
    _began: float = 0.0
    _stage_began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def progress(self) -> Progress:
        """Return how far it is."""
        with self._lock:
            now = self._progress
            if now.state == "running":
                now = replace(now, seconds=time.monotonic() - self._began)
            return now

    def start(self, *arguments: Any) -> None:
        """Begin a training.

        Raises
        ------
        InputError
            If one is running.
        """
        with self._lock:
            if self._progress.state == "running":
                raise InputError("a training is running already; wait until it is done")
            self._progress = Progress("running", "starting")
            self._began = self._stage_began = time.monotonic()
        # A new interpreter: a fork would take over locks that the server's threads hold.
        context = multiprocessing.get_context("spawn")
        process: Any = None
        try:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(there, self.work, arguments), name="fewlabels training")
            with _hearing_no_interrupt():
                process.start()
            there.close()
            watcher = threading.Thread(target=self._watch, args=(here, process), name="watching", daemon=True)
            watcher.start()
        except Exception as error:  # whatever it is, the next one may be started
            if process is not None and process.pid is not None:
                process.terminate()
            self._set(Progress("failed", f"the training could not be started: {in_words(error)}"))
            return
        self._process, self._watcher = process, watcher

    def stop(self) -> None:
        """End the training, if one runs; the model that was there stays."""
        process = self._process
        if process is not None and process.is_alive():
            process.terminate()
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
        if self._watcher is not None:
            self._watcher.join(_PATIENCE)

    def _watch(self, here: Connection, process: Any) -> None:
        last: Progress | None = None
        with here, contextlib.suppress(EOFError, OSError):
            while last is None:
                kind, told = here.recv()
                if kind == "event":
                    self._tell(told)
                elif kind == "note":
                    self._set(replace(self._progress, notes=(*self._progress.notes, told)))
                else:
                    last = Progress(kind, told)
        process.join()
        if last is None:
            last = Progress("failed", f"the training was stopped (exit code {process.exitcode})")
        if last.state == "done" and self.finished is not None:
            self._set(replace(self._progress, text="the new model is being put in place"))
            try:
                self.finished()
            except Exception as error:  # whatever it is, the page must say that the old model answers still
                last = Progress("failed", f"the new model cannot be used: {in_words(error)}")
        now = self.progress()
        self._set(replace(last, seconds=now.seconds, accuracy=now.accuracy, notes=now.notes))

    def _set(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress

    def _tell(self, event: Event) -> None:
        now = time.monotonic()
        if event["step"] == 0:
            self._stage_began = now
        left = None
        if event["step"]:
            a_step = (now - self._stage_began) / event["step"]
            # Of the stages to come, all that is known is that they are about as long.
            left = a_step * (event["steps"] - event["step"] + event["steps"] * _stages_left(event))
        self._set(
            replace(
                self._progress,
                text=str(event["stage"]),
                step=event["step"],
                steps=event["steps"],
                stage=event["stage_number"],
                stages=event["stage_count"],
                accuracy=event.get("validation_accuracy", self._progress.accuracy),
                seconds_left=left,
            )
        )


@contextlib.contextmanager
def _hearing_no_interrupt() -> Iterator[None]:
    """Have what is started hear nothing of Ctrl-C, which a terminal sends to all: the server ends it by itself."""
    if sys.platform == "win32":
        yield
        return
    # Started by the first process otherwise, which lets the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stages_left(event: Event) -> int:
    return int(event["stage_count"] - event["stage_number"])


def _run(there: Connection, work: Callable[..., str], arguments: tuple[Any, ...]) -> None:
    """Work in the other process; when the server is gone, the next thing told ends it."""

    def tell(event: Event) -> None:
        # What is no plain value (an array, say) stays here.
        there.send(("event", {key: value for key, value in event.items() if isinstance(value, str | int | float)}))

    def note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, TrainingWarning):
            there.send(("note", str(message)))

    warnings.showwarning = note
    try:
        there.send(("done", work(tell, *arguments)))
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    except Exception as error:  # told on the page, in one line
        with contextlib.suppress(BrokenPipeError):
            there.send(("failed", in_words(error)))
