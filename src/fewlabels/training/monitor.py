"""What a run tells while it goes: events for whoever watches, and their history."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Event = dict[str, Any]
Observer = Callable[[Event], None]
_EVENTS_A_STAGE = 100


class Monitor:
    """Collects the losses of each step and passes on an event about a hundred times a stage.

    Losses stay on the device between events: reading one each step would make the host wait for the device.

    Parameters
    ----------
    observer : callable or None
        Called with each event, a dict with keys `stage`, `stage_number`, `stage_count`, `step`, `steps`,
        `loss`, the named losses, `learning_rate`, `seconds`, `gradient_images` and at some events
        `train_accuracy` and `validation_accuracy`.

    Attributes
    ----------
    history : list of dict
        All events.
    gradient_images : int
        Samples that went forward and backward so far.
    stage_steps : dict of str to int
        Steps of each stage.
    stage_count, stages_before : int
        How many stages a method has, and how many go before them.
    pool_steps : int
        Steps in which the gradients of labeled and pool samples were compared.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer
        self.history: list[Event] = []
        self.gradient_images = 0
        self.stage_steps: dict[str, int] = {}
        self.stage_count, self.stages_before = 1, 0
        self.pool_steps = 0
        self._agreed: Tensor | None = None
        self._stage: Event = {}
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

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

    def add(self, losses: dict[str, Tensor], images: int) -> None:
        """Add one step's named losses (each a detached scalar)."""
        for name, value in losses.items():
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

    def report(self, step: int, steps: int, learning_rate: float, accuracies: dict[str, float]) -> None:
        """Pass on the mean losses since the last event."""
        names = list(self._sums)
        values = (torch.stack([self._sums[name] for name in names]) / self._summed).tolist()
        named = dict(zip(names, values, strict=True))
        event = {**self._stage, "step": step, "steps": steps, "loss": sum(values)}
        event |= named if len(named) > 1 else {}
        event |= {"learning_rate": learning_rate, "seconds": self.seconds}
        event |= {"gradient_images": self.gradient_images} | accuracies
        self._sums, self._summed = {}, 0
        self._tell(event)

    def conclude(self, accuracies: dict[str, float]) -> None:
        """Pass on that a stage without steps or losses of its own is done."""
        event = {**self._stage, "step": 1, "steps": 1, "seconds": self.seconds}
        self._tell(event | {"gradient_images": self.gradient_images} | accuracies)

    def _tell(self, event: Event) -> None:
        if event["step"]:
            self.history.append(event)
        if self.observer is not None:
            self.observer(event)
