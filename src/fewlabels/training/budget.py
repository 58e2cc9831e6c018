"""Budgets: how long a stage may train, in steps, passes over the data, or time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from fewlabels.storage.errors import InputError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(budget: str | float) -> float:
    """Return the seconds that a budget names.

    Parameters
    ----------
    budget : str or float
        "90s", "5m", "1h30m", or a number of seconds.

    Raises
    ------
    InputError
        If it is none of these, or not above zero.

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
        seconds = sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)([smh])", text))
    if not 0 < seconds < float("inf"):
        raise InputError(f"budget {budget!r} is not a time; give one like 90s, 5m or 1h30m")
    return seconds


class Clock:
    """Time that is left of a budget.

    Parameters
    ----------
    seconds : float
        Time for everything, from now.

    Attributes
    ----------
    reserved : float
        Seconds set aside for what comes after the training.
    """

    def __init__(self, seconds: float) -> None:
        self.deadline = time.perf_counter() + seconds
        self.reserved = 0.0

    def left(self) -> float:
        """Return the seconds that training may still take."""
        return self.deadline - time.perf_counter() - self.reserved


def seconds_per_step(run_steps: Callable[[int, Callable[[], None]], None], available: float) -> float:
    """Return the duration of a step, measured on a few.

    Parameters
    ----------
    run_steps : callable
        Runs that many steps, and calls what it is given after each.
    available : float
        Seconds that there are for all steps: the trial takes a small part of them.
    """
    ends: list[float] = []

    def note() -> None:
        ends.append(time.perf_counter())

    run_steps(2, note)  # the first steps allocate and choose kernels
    count = 2
    while True:
        ends.clear()
        run_steps(count, note)
        # From the end of the first step on: what goes before the steps is paid once a training.
        elapsed = ends[-1] - ends[0]
        # Long enough that the clock and the machine's hiccups do not matter, short beside the budget.
        if elapsed > min(2.0, 0.03 * available) or count >= 128:
            return elapsed / (count - 1)
        count *= 2
