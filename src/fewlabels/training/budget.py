"""Budgets: what a whole training may cost, in time or in gradient images."""

from __future__ import annotations

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from fewlabels.storage.errors import InputError

# Steps, and the seconds or the share of a budget, to find out how long a step takes.
_UNTIMED, _LEAST_TIMED, _MOST_TIMED = 2, 4, 128
_TIMED, _TIMED_SHARE = 2.0, 0.03
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6}

# Runs so many steps, calls what it is given after each, and returns how many gradient images they took.
RunSteps = Callable[[int, Callable[[], None]], int]


class Budget(ABC):
    """What is left for a training, and what a part of it costs."""

    # What a checkpoint keeps of it.
    moves: tuple[str, ...] = ()

    @abstractmethod
    def left(self) -> float:
        """Return what training may still cost."""

    @abstractmethod
    def part(self, cost: float) -> Budget:
        """Return a budget of that much that begins now; what it spends is spent here too."""

    @abstractmethod
    def cost_of_step(self, run_steps: RunSteps) -> float:
        """Return what one of the steps costs that `run_steps` runs."""

    def reserve(self, seconds: Callable[[], float]) -> None:
        """Set aside what follows the training and takes so many seconds, if time is what counts."""
        del seconds

    def cost_of(self, seconds: Callable[[], float]) -> float:
        """Return what something costs that takes so many seconds and trains nothing."""
        del seconds
        return 0.0


class TimeBudget(Budget):
    """Seconds for everything, from now on.

    Parameters
    ----------
    seconds : float
        Above 0.
    clock : callable
        Returns the time in seconds.
    whole : TimeBudget, optional
        Of which this is a part.
    """

    # The whole too: what a training that is continued has spent of a part, it has spent of that.
    moves = ("remaining", "_reserved", "_whole")

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.perf_counter, whole: TimeBudget | None = None
    ) -> None:
        self._clock, self._whole = clock, whole
        self.remaining = seconds
        self._reserved = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until the end; a training that is continued has those that were left when it was stopped."""
        return self._deadline - self._clock()

    @remaining.setter
    def remaining(self, seconds: float) -> None:
        self._deadline = self._clock() + seconds

    def left(self) -> float:
        """Return the seconds that training may still take."""
        return self.remaining - self._reserved

    def part(self, cost: float) -> TimeBudget:
        """Return a budget of so many seconds."""
        return TimeBudget(cost, self._clock, self)

    def cost_of_step(self, run_steps: RunSteps) -> float:
        """Return a step's seconds, measured on a few: a small part of the time that is left."""
        ends: list[float] = []

        def note() -> None:
            ends.append(self._clock())

        # Long enough that the clock and the machine's hiccups do not matter, short beside the budget: what is trained
        # here is thrown away.
        enough = min(_TIMED, _TIMED_SHARE * self.left())
        steps = _LEAST_TIMED
        while True:
            ends.clear()
            run_steps(_UNTIMED + steps, note)
            # The first steps allocate and choose kernels: paid once a training.
            elapsed = ends[-1] - ends[_UNTIMED - 1]
            if elapsed >= 0.8 * enough or steps >= _MOST_TIMED:
                return elapsed / steps
            steps = min(_MOST_TIMED, max(2 * steps, math.ceil(enough * steps / max(elapsed, 1e-9))))

    def reserve(self, seconds: Callable[[], float]) -> None:
        """Set aside what follows the training and takes so many seconds."""
        self._reserved = seconds()

    def cost_of(self, seconds: Callable[[], float]) -> float:
        """Return the seconds."""
        return seconds()


class ImageBudget(Budget):
    """Gradient images for everything: what goes forward and backward through a net, views of one image one by one.

    Parameters
    ----------
    images : float
        Above 0.
    spent : callable
        Returns how many were taken so far.
    """

    def __init__(self, images: float, spent: Callable[[], int]) -> None:
        self._images = images
        self._spent = spent

    def left(self) -> float:
        """Return the images that training may still take."""
        return self._images - self._spent()

    def part(self, cost: float) -> ImageBudget:
        """Return a budget of so many images."""
        before = self._spent()
        return ImageBudget(cost, lambda: self._spent() - before)

    def cost_of_step(self, run_steps: RunSteps) -> float:
        """Return the images of a step."""
        return float(run_steps(1, lambda: None))


def parse_seconds(budget: str | float) -> float | None:
    """Return the seconds that a budget names, None if it names no time.

    Parameters
    ----------
    budget : str or float
        "90s", "5m", "1h30m", or a number of seconds.

    Examples
    --------
    >>> parse_seconds("1h30m"), parse_seconds("45"), parse_seconds(20)
    (5400.0, 45.0, 20.0)
    """
    text = str(budget).strip().lower()
    seconds = 0.0
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    elif re.fullmatch(r"(\d+(\.\d+)?[smh])+", text):
        seconds = sum(float(n) * _SECONDS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)([smh])", text))
    return seconds if 0 < seconds < float("inf") else None


def parse_images(budget: str | float) -> float | None:
    """Return the gradient images that a budget names, None if it names none.

    Examples
    --------
    >>> parse_images("64000 images"), parse_images("500k images"), parse_images("2M images"), parse_images("5m")
    (64000.0, 500000.0, 2000000.0, None)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([km]?)\s*images?", str(budget).strip().lower())
    images = float(found[1]) * _THOUSANDS[found[2]] if found else 0.0
    return images if images > 0 else None


def read_budget(
    budget: str | float, spent: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.perf_counter
) -> Budget:
    """Return a budget that begins now.

    Parameters
    ----------
    budget : str or float
        A time, "90s", "5m", "1h30m" or a number of seconds; or gradient images, "500k images".
    spent : callable
        Returns how many gradient images were taken so far.
    clock : callable
        Returns the time in seconds.

    Raises
    ------
    InputError
        If it is neither, or not above zero.
    """
    seconds, images = parse_seconds(budget), parse_images(budget)
    if seconds is not None:
        return TimeBudget(seconds, clock)
    if images is not None:
        return ImageBudget(images, spent)
    raise InputError(
        f"budget {budget!r} is neither a time, like 90s, 5m or 1h30m, nor gradient images, like '500k images'"
    )
