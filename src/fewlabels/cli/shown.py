"""How several commands show what they have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fewlabels.cli.app import errors
from fewlabels.storage.visible import visible


def show_dataset(data: Any, *, quiet: bool = False) -> None:
    """Print what is to be noted about a data set, unless that is not wanted, and how many files it left out."""
    show_notes(() if quiet else data.notes)
    if data.skipped:
        first = data.skipped[0]
        line = f"left out {len(data.skipped):,} unreadable files, the first: {first.path} ({first.reason})"
        errors.print(visible(line), style="yellow", highlight=False)


def show_notes(notes: Iterable[str]) -> None:
    """Print what a user should know."""
    for note in notes:
        errors.print(visible(f"note: {note}"), style="dim", highlight=False)


def percent(share: float | None) -> str:
    """Return a share in percent; nothing where there is none."""
    return "" if share is None or share != share else f"{100 * share:.1f}"
