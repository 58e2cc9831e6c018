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
    """Shares a time budget among the stages of a run.

    Parameters
    ----------
    seconds : float
        Time for all stages, from now.
    """

    def __init__(self, seconds: float) -> None:
        self.deadline = time.perf_counter() + seconds

    def steps_for(self, share: float, run_steps: Callable[[int], None]) -> int:
        """Return how many steps fit into `share` of the time that is left.

        Parameters
        ----------
        share : float
            In (0, 1].
        run_steps : callable
            Runs that many steps on throwaway copies, to be timed.
        """
        began = time.perf_counter()
        run_steps(2)  # the first steps allocate and choose kernels
        available = share * (self.deadline - time.perf_counter())
        count = 1
        while True:
            start = time.perf_counter()
            run_steps(count)
            elapsed = time.perf_counter() - start
            # Long enough that the clock and the machine's hiccups do not matter, short beside the budget.
            if elapsed > min(1.0, 0.03 * available) or count >= 64:
                break
            count *= 2
        spent = time.perf_counter() - began
        return max(1, int((available - spent) / (elapsed / count)))
