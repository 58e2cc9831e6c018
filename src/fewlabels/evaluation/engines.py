"""Where the trainings of a comparison are done: one after the other here, or side by side on a Ray cluster."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewlabels.data import ImageDataset
from fewlabels.evaluation.listener import Listener
from fewlabels.evaluation.training import Draws, Trained, Training, train
from fewlabels.storage.engine import ray_cluster
from fewlabels.training.monitor import Event

# Seconds between two looks at the trainings, and between two messages of one.
_EVERY = 0.25
# Seconds that trainings have to save what they have reached when the comparison is stopped.
_FAREWELL = 60.0


@dataclass(frozen=True)
class Work:
    """The trainings of a comparison that are to be done.

    Attributes
    ----------
    trainings : iterable of (Training, ImageDataset)
        Each with its draw.
    draws : Draws
        How another process draws the same.
    listen : callable
        Returns a training's listener; `at_once=True` tells it that others go on beside.
    checkpoint_every : float
        Seconds.
    device : str
        What methods train on.
    """

    trainings: Iterable[tuple[Training, ImageDataset]]
    draws: Draws
    listen: Callable[..., Listener]
    checkpoint_every: float
    device: str


def here(work: Work) -> None:
    """Do one training after the other in this process."""
    for training, data in work.trainings:
        with work.listen(training) as listener:
            listener.conclude(
                train(training, data, tell=listener, checkpoint=listener.checkpoint, every=work.checkpoint_every)
            )


def with_ray(work: Work) -> None:
    """Do trainings on a Ray cluster, as many at a time as it has CPUs, or GPUs where there are any.

    Each has one CPU, and draws its data itself: every machine must reach the source. When a process dies, Ray begins
    its training again, from the last checkpoint where the machine reaches the comparison's folder.

    Raises
    ------
    InputError
        If Ray is not installed, or what a training was given cannot be used.
    """
    # Ray puts a handler of its own in place of whoever waits for this signal.
    before = signal.getsignal(signal.SIGTERM)
    listeners: dict[int, Listener] = {}
    pending: dict[Any, int] = {}
    with ray_cluster("ray.util.queue") as ray:
        with contextlib.suppress(ValueError):  # no signals outside the main thread
            signal.signal(signal.SIGTERM, before)
        try:
            events = ray.util.queue.Queue(actor_options={"num_cpus": 0})
            gpus = 1 if work.device.startswith("cuda") and ray.cluster_resources().get("GPU") else 0
            task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_train_there)
            shared = ray.put(work.draws)
            for training, _ in work.trainings:
                listener = listeners[training.number] = work.listen(training, at_once=True)
                listener.__enter__()
                sent = work.draws.without_source(training), shared, listener.checkpoint.absolute()
                pending[task.remote(*sent, work.checkpoint_every, events)] = training.number
            while pending:
                ready, _ = ray.wait(list(pending), timeout=_EVERY)
                # A training has sent its last event before it is done.
                for number, which, event in _waiting(events):
                    listeners[number](which, event)
                for reference in ready:
                    number = pending.pop(reference)
                    try:
                        listeners[number].conclude(ray.get(reference))
                    except ray.exceptions.RayTaskError as error:
                        raise error.cause from None
                    listeners.pop(number).__exit__(None, None, None)
        except BaseException as error:
            for reference in pending:
                ray.cancel(reference)
            if pending:
                ray.wait(list(pending), num_returns=len(pending), timeout=_FAREWELL)
            for listener in listeners.values():
                listener.__exit__(type(error), error, error.__traceback__)
            raise


def do(work: Work, engine: str) -> None:
    """Do trainings by an engine of `fewlabels.storage.engine.ENGINES`."""
    (with_ray if engine == "ray" else here)(work)


def _waiting(events: Any) -> Iterator[tuple[int, int, Event]]:
    count = events.qsize()
    yield from events.get_nowait_batch(count) if count else ()


def _train_there(training: Training, draws: Draws, checkpoint: Path, every: float, events: Any) -> Trained:
    """Do a training in a process of the cluster."""
    told: list[tuple[int, int, Event]] = []
    sent = time.monotonic()

    def send() -> None:
        nonlocal sent
        if told:
            events.put_nowait_batch(list(told))
            told.clear()
        sent = time.monotonic()

    def tell(which: int, event: Event) -> None:
        told.append((training.number, which, event))
        if time.monotonic() - sent > _EVERY:
            send()

    with tempfile.TemporaryDirectory(prefix="fewlabels-") as aside:
        # Made by whoever began the comparison: where it is not there, this is another machine.
        shared = checkpoint.parents[1].is_dir()
        place = checkpoint if shared else Path(aside) / checkpoint.name
        try:
            return train(training, training.draw(draws), tell=tell, checkpoint=place, every=every)
        finally:
            send()
