"""The errors a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """What was given cannot be used; the message says in one line what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class MissingSource(InputError):
    """Nothing is there where a source is said to be."""


class NewerFormat(InputError):
    """What is there was written by a later version, whose form this one does not know."""


class ToldError(InputError):
    """What another process could not use, and has told this one: it is shown there."""


class TrainingWarning(UserWarning):
    """A training went on, but its result may be poor; the message says what to change."""


class Interrupted(Exception):
    """Training was stopped by Ctrl-C or SIGTERM; the message says what was kept.

    Parameters
    ----------
    message : str
        In one line.
    code : int
        What a process that ends by it exits with: 130 after Ctrl-C, 143 after SIGTERM.
    folder : Path, optional
        From which the training can be continued.
    """

    def __init__(self, message: str, *, code: int = 130, folder: Path | None = None) -> None:
        super().__init__(message)
        self.code, self.folder = code, folder


def tell_kept(error: Exception, what: str, folder: Path | None = None) -> None:
    """Note on an error that ends work what of it is kept, and from which folder it can be continued.

    Of a comparison this says more than what was noted of one of its trainings, and takes its place.

    Examples
    --------
    >>> error = OSError("no space left")
    >>> tell_kept(error, "the last checkpoint is kept in model.checkpoint")
    >>> error.__notes__
    ['the last checkpoint is kept in model.checkpoint']
    """
    error.__notes__ = [what]
    vars(error)["folder"] = folder


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, or an empty string.

    Examples
    --------
    >>> nearest("suprvised", ["supervised", "self-training"])
    "; did you mean 'supervised'?"
    """
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
