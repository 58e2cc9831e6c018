"""How several commands show what they have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fewlabels.cli.app import note, warn
from fewlabels.storage.wording import counted


def show_dataset(data: Any, *, quiet: bool = False, named: int = 1, labels: Any = None) -> None:
    """Print what is to be noted about a data set, as `show_notes` does, and the first files it left out."""
    show_notes(data.notes, quiet=quiet, labels=labels)
    if not (skipped := data.skipped):
        return
    files = counted(len(skipped), "unreadable file")
    first = [f"{one.path} ({one.reason})" for one in skipped[:named]]
    if len(skipped) == 1:
        lines = [f"left out {files}: {first[0]}"]
    elif named == 1:
        lines = [f"left out {files}, the first: {first[0]} (fewlabels check names them)"]
    else:
        lines = [f"left out {files}:", *(f"    {one}" for one in first)]
        lines += [f"    and {len(skipped) - named:,} more"] if len(skipped) > named else []
    for line in lines:
        warn(line)


def show_left_out(skipped: Iterable[Any]) -> None:
    """Print each image that was left out, and why."""
    for one in skipped:
        warn(f"left out {one.path}: {one.reason}")


def show_notes(notes: Iterable[str], *, quiet: bool = False, labels: Any = None) -> None:
    """Print what a user should know; where that is not wanted, whether a label of a file was lost all the same."""
    if quiet:
        from fewlabels.data import read_labels

        notes = read_labels(labels).notes if isinstance(labels, str) else ()
    for text in notes:
        note(f"note: {text}")
