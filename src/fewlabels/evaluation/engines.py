"""Where the trainings of a comparison are done: one after the other here, or side by side on a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from fewlabels.data import ImageDataset
from fewlabels.evaluation.listener import Listener
from fewlabels.evaluation.training import Draws, Trained, Training, train
from fewlabels.storage.errors import InputError
from fewlabels.training.monitor import Event

# Seconds between two looks at the trainings, and between two messages of one.
_EVERY = 0.25
# Seconds that trainings have to save what they have reached when the comparison is stopped.
_FAREWELL = 60.0


class Engine(Protocol):
    """Does trainings, tells their listeners, and yields the number of each that is done."""

    def __call__(
        self,
        todo: Iterable[tuple[Training, ImageDataset]],
        draws: Draws,
        listen: Callable[[Training], Listener],
        *,
        checkpoint_every: float,
        device: str,
    ) -> Iterator[int]:
        """Do them."""


def here(
    todo: Iterable[tuple[Training, ImageDataset]],
    draws: Draws,
    listen: Callable[[Training], Listener],
    *,
    checkpoint_every: float,
    device: str,
) -> Iterator[int]:
    """Do one training after the other in this process."""
    del draws, device
    for training, data in todo:
        with listen(training) as listener:
            listener.conclude(
                train(training, data, tell=listener, checkpoint=listener.checkpoint, every=checkpoint_every)
            )
        yield training.number


def with_ray(
    todo: Iterable[tuple[Training, ImageDataset]],
    draws: Draws,
    listen: Callable[[Training], Listener],
    *,
    checkpoint_every: float,
    device: str,
) -> Iterator[int]:
    """Do trainings on a Ray cluster, as many at a time as it has CPUs, or GPUs where there are any.

    Each has one CPU, and draws its data itself: every machine must reach the source. When a process dies, Ray begins
    its training again, from the last checkpoint where the machine reaches the comparison's folder.

    Raises
    ------
    InputError
        If Ray is not installed, or what a training was given cannot be used.
    """
    ray = _ray()
    # Ray puts a handler of its own in place of whoever waits for this signal.
    before = signal.getsignal(signal.SIGTERM)
    started = not ray.is_initialized()
    if started:
        # Joins the cluster that RAY_ADDRESS names, or one that runs on this machine, else starts one.
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    with contextlib.suppress(ValueError):  # no signals outside the main thread
        signal.signal(signal.SIGTERM, before)
    listeners: dict[int, Listener] = {}
    pending: dict[Any, int] = {}
    try:
        from ray.util.queue import Queue

        events = Queue(actor_options={"num_cpus": 0})
        gpus = 1 if device.startswith("cuda") and ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_train_there)
        shared = ray.put(draws)
        for training, _ in todo:
            listener = listeners[training.number] = listen(training)
            listener.at_once = True
            listener.__enter__()
            place = listener.checkpoint.absolute()
            sent = task.remote(draws.without_source(training), shared, place, checkpoint_every, events)
            pending[sent] = training.number
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
                yield number
    except BaseException as error:
        for reference in pending:
            ray.cancel(reference)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=_FAREWELL)
        for listener in listeners.values():
            listener.__exit__(type(error), error, error.__traceback__)
        raise
    finally:
        if started:
            ray.shutdown()


ENGINES: dict[str, Engine] = {"local": here, "ray": with_ray}


def check_engine(engine: str) -> None:
    """Refuse an engine that there is not, or whose package is not installed."""
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; expected {' or '.join(ENGINES)}")
    if engine == "ray":
        _ray()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("the engine ray needs Ray: pip install 'fewlabels[ray]'") from error
    return ray


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
