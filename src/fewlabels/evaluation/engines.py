"""Where the trainings of a comparison are done: one after the other here, or side by side on a Ray cluster."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fewlabels.data import ImageDataset
from fewlabels.evaluation.listener import Listener
from fewlabels.evaluation.training import Draws, Trained, Training, train
from fewlabels.storage.cache_folder import named_cache
from fewlabels.storage.engine import ray_cluster
from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import first_line
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

    Each has one CPU, and draws its data itself: every machine must reach the source. Relative paths are taken from the
    folder that this process works in. When a process dies, Ray begins its training again, from the last checkpoint
    where the machine reaches the comparison's folder.

    Raises
    ------
    InputError
        If Ray is not installed, what a training was given cannot be used, or the cluster fails it.
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
            # What is set here is not set in the processes of a cluster that others have started.
            options = {**work.draws.options, "cache_dir": named_cache(work.draws.options.get("cache_dir"))}
            shared = ray.put(replace(work.draws, options=options))
            folder = Path.cwd()
            for training, _ in work.trainings:
                listener = listeners[training.number] = work.listen(training, at_once=True)
                listener.__enter__()
                sent = work.draws.without_source(training), shared, listener.checkpoint.absolute()
                pending[task.remote(*sent, work.checkpoint_every, events, folder)] = training.number
            while pending:
                ready, _ = ray.wait(list(pending), timeout=_EVERY)
                # A training has sent its last event before it is done.
                with _told(ray, "what trainings tell was lost"):
                    for number, which, event in _waiting(events):
                        listeners[number](which, event)
                for reference in ready:
                    number = pending.pop(reference)
                    with _told(ray, f"{listeners[number].checkpoint.name} could not be trained"):
                        listeners[number].conclude(ray.get(reference))
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


@contextlib.contextmanager
def _told(ray: Any, what: str) -> Iterator[None]:
    """Raise what went wrong in a process of the cluster as it was there, and say of the cluster's own errors more."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise InputError(
            f"{what} on the Ray cluster: {first_line(error)}; trainings that were finished are kept, and the same "
            "command with --resume goes on"
        ) from error


def _waiting(events: Any) -> Iterator[tuple[int, int, Event]]:
    count = events.qsize()
    yield from events.get_nowait_batch(count) if count else ()


def _train_there(
    training: Training, draws: Draws, checkpoint: Path, every: float, events: Any, folder: Path
) -> Trained:
    """Do a training in a process of the cluster, in the folder that the comparison was begun in."""
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

    # It has one CPU, whatever the environment says.
    torch.set_num_threads(1)
    with contextlib.ExitStack() as ended:
        aside = ended.enter_context(tempfile.TemporaryDirectory(prefix="fewlabels-"))
        # Another machine may not have it; whole paths lead there all the same.
        if folder.is_dir():
            ended.enter_context(contextlib.chdir(folder))
        # Made by whoever began the comparison: where it is not there, this is another machine.
        shared = checkpoint.parents[1].is_dir()
        place = checkpoint if shared else Path(aside) / checkpoint.name
        try:
            return train(training, training.draw(draws), tell=tell, checkpoint=place, every=every)
        finally:
            send()
