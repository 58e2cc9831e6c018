"""What went wrong, in words for those who use the page."""

from __future__ import annotations

import errno
import os

from fewlabels.storage.atomic import NO_ROOM

_LONGEST = 500


def in_words(error: Exception) -> str:
    """Return in one line what went wrong, and with which file; where the disk is full, what to do too.

    Examples
    --------
    >>> in_words(OSError(13, "Permission denied", "labels.csv")), in_words(ValueError("no labels"))
    ('Permission denied: labels.csv', 'no labels')
    """
    told = str(error) or repr(error)
    if isinstance(error, OSError) and error.strerror:
        told = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
        if error.errno in NO_ROOM:
            told = told.replace(os.strerror(errno.ENOSPC), "the disk is full")
            told += "; make room, then try again (the labels given so far are kept)"
    return " ".join(told.split())[:_LONGEST]
