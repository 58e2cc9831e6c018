"""The errors a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given cannot be used; the message says in one line what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class Interrupted(Exception):
    """Training was stopped by the user; the message says what was kept."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, or an empty string.

    Examples
    --------
    >>> nearest("suprvised", ["supervised", "self-training"])
    "; did you mean 'supervised'?"
    """
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""
