"""What a tracker has to do: the same few calls for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True)
class Entry:
    """What a tracker is told of a run when it begins.

    Attributes
    ----------
    name : str
        Name of the run, the same when it is resumed.
    folder : Path
        Where its model and results lie; with the name, this is how an earlier process's run is found again.
    settings : dict
        Hyper-parameters: text, numbers, truth values, None.
    facts : dict of str to str
        What else it can be found by: method, labels per class, seed.
    resumed : bool
        Go on with the run of that name and folder, if there is one.
    parent : str
        What the tracker calls the run that this one is part of; empty for none.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    resumed: bool = False
    parent: str = ""


class Tracker(Protocol):
    """Keeps one run.

    Attributes
    ----------
    run : str
        What the tracker calls the run.
    stored : dict of str to int
        For each name under which something is there already, from an earlier process, its last step.
    """

    run: str
    stored: dict[str, int]

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keep finite numbers by name."""

    def take_back(self, step: int) -> None:
        """Forget the numbers of this step and later ones: training went back to before it."""

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Keep a picture."""

    def file(self, path: Path) -> None:
        """Keep a file, where the tracker can."""

    def end(self, status: str) -> None:
        """Let go of the run, which is finished, stopped or failed."""
