"""What a run tells while it goes: events for whoever watches, and their history."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.watch import ADMITTED, POOL_GUESSES, warnings_of

Event = dict[str, Any]
Observer = Callable[[Event], None]
_EVENTS_A_STAGE = 100


def both(first: Observer, second: Observer | None) -> Observer:
    """Return an observer that passes each event on to two.

    Examples
    --------
    >>> told = []
    >>> both(told.append, told.append)({"step": 1})
    >>> len(told)
    2
    """

    def tell(event: Event) -> None:
        first(event)
        if second is not None:
            second(event)

    return tell


class Monitor:
    """Collects the losses of each step and passes on an event about a hundred times a stage.

    Losses stay on the device between events: reading one each step would make the host wait for the device.

    Parameters
    ----------
    observer : callable or None
        Called with each event, a dict with keys `stage`, `stage_number`, `stage_count`, `step`, `steps`,
        `loss`, the named losses, `learning_rate`, `seconds`, `gradient_images`, with thresholds `pool_admitted`
        (mean weight of the pool samples' guesses) and at some events `train_accuracy` and `validation_accuracy`.

    Attributes
    ----------
    events : list of dict
        All events.
    notes : list of str
        What went wrong, or may have, and what to change.
    gradient_images : int
        Samples that went forward and backward so far.
    stage_steps : dict of str to int
        Steps of each stage.
    stage_count, stages_before : int
        How many stages a method has, and how many go before them.
    threshold_moves : bool
        Whether the method moves the threshold of its guesses by itself.
    pool_steps : int
        Steps in which the gradients of labeled and pool samples were compared.
    pool_looks : list of dict
        What classes some pool samples were guessed to be of on the way: `stage`, `stage_number`, `step`, `guesses`.
    """

    moves = (
        "events",
        "notes",
        "gradient_images",
        "stage_steps",
        "stage_count",
        "stages_before",
        "pool_steps",
        "pool_looks",
        "seconds",
        "_agreed",
        "_stage",
        "_sums",
        "_summed",
    )

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.gradient_images = 0
        self.stage_steps: dict[str, int] = {}
        self.stage_count, self.stages_before = 1, 0
        self.threshold_moves = False
        self.pool_steps = 0
        self.pool_looks: list[dict[str, Any]] = []
        self._agreed: Tensor | None = None
        self._stage: Event = {}
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._told = 0
        self._remembered: tuple[int, Tensor | None] = (0, None)
        self._began = time.perf_counter()

    @property
    def history(self) -> list[Event]:
        """All events but those that only say that a stage begins."""
        return [event for event in self.events if event["step"]]

    @property
    def seconds(self) -> float:
        """Seconds since the run began; without the time between a stop and going on."""
        return time.perf_counter() - self._began

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._began = time.perf_counter() - seconds

    def begin(self, stage: str, steps: int) -> None:
        """Start a stage of that many steps."""
        self.stage_steps[stage] = steps
        self._stage = {
            "stage": stage,
            "stage_number": len(self.stage_steps),
            "stage_count": max(self.stages_before + self.stage_count, len(self.stage_steps)),
        }
        self._sums, self._summed = {}, 0
        self._tell({**self._stage, "step": 0, "steps": steps, "seconds": self.seconds})

    def is_due(self, step: int, steps: int) -> bool:
        """Say whether an event is due after `step` steps of `steps`."""
        every = max(1, steps // _EVENTS_A_STAGE)
        return step % every == 0 or step == steps

    def add(self, losses: dict[str, Tensor], images: int, admitted: Tensor | None = None) -> None:
        """Add one step's named losses and its share of pool samples that count, each a detached scalar."""
        named = losses if admitted is None else {**losses, ADMITTED: admitted}
        for name, value in named.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._summed += 1
        self.gradient_images += images

    def add_agreement(self, agreed: Tensor) -> None:
        """Take note of whether a step's pool gradient was used, 1, or left out, 0."""
        self.pool_steps += 1
        self._agreed = agreed if self._agreed is None else self._agreed + agreed

    def steps_left_out(self) -> int:
        """Return in how many of `pool_steps` the pool's gradient was left out."""
        return self.pool_steps - (0 if self._agreed is None else round(float(self._agreed)))

    def report(self, step: int, steps: int, learning_rate: float, looked: dict[str, Any]) -> None:
        """Pass on the mean losses since the last event, and accuracies; guesses for pool samples are kept back."""
        accuracies = dict(looked)
        if POOL_GUESSES in accuracies:
            stage = {name: self._stage[name] for name in ("stage", "stage_number")}
            self.pool_looks.append({**stage, "step": step, "guesses": accuracies.pop(POOL_GUESSES)})
        names = list(self._sums)
        values = (torch.stack([self._sums[name] for name in names]) / self._summed).tolist()
        named = dict(zip(names, values, strict=True))
        admitted = {ADMITTED: named.pop(ADMITTED)} if ADMITTED in named else {}
        event = {**self._stage, "step": step, "steps": steps, "loss": sum(named.values())}
        event |= named if len(named) > 1 else {}
        event |= {"learning_rate": learning_rate, "seconds": self.seconds}
        event |= {"gradient_images": self.gradient_images} | admitted | accuracies
        self._sums, self._summed = {}, 0
        self._tell(event)
        of_stage = [e for e in self.events if e["stage_number"] == event["stage_number"]]
        for sentence in warnings_of(of_stage, threshold_moves=self.threshold_moves):
            if sentence not in self.notes:
                self.note(sentence)

    def conclude(self, accuracies: dict[str, float]) -> None:
        """Pass on that a stage without steps or losses of its own is done."""
        event = {**self._stage, "step": 1, "steps": 1, "seconds": self.seconds}
        self._tell(event | {"gradient_images": self.gradient_images} | accuracies)

    def note(self, sentence: str) -> None:
        """Keep a sentence for whoever reads the result, and warn of it."""
        self.notes.append(sentence)
        warnings.warn(sentence, TrainingWarning, stacklevel=2)

    def remember(self) -> None:
        """Keep what counts have come to, at a step to which the training may be rolled back."""
        self._remembered = self.pool_steps, self._agreed

    def forget(self, step: int) -> None:
        """Take back the stage's events and counts after a step, the last remembered, to which training goes back."""
        self.pool_steps, self._agreed = self._remembered
        stage = self._stage["stage_number"]
        self.events = [e for e in self.events if e["stage_number"] != stage or e["step"] <= step]
        self.pool_looks = [one for one in self.pool_looks if one["stage_number"] != stage or one["step"] <= step]
        self._sums, self._summed = {}, 0
        self._told = len(self.events)

    def tell_again(self) -> None:
        """Pass on the events that came with a checkpoint, so that an observer has seen all of them."""
        if self.observer is not None:
            for event in self.events[self._told :]:
                self.observer(event)
        self._told = len(self.events)

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.tell_again()
