"""What a check found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

LEAK, TRAP, NOTE = "leak", "trap", "note"


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know before training.

    Attributes
    ----------
    kind : str
        "exact-copies", "near-duplicates", "label-conflict", "missing-class", "shifted-part", "stretched-part", or
        "not-checked".
    severity : {"leak", "trap", "note"}
        A leak makes measured accuracies too high, a trap makes training or measuring go wrong, a note is harmless.
    text : str
        A sentence without a full stop.
    parts : tuple of str
        Of "labeled", "validation", "test" and "pool": those concerned.
    count : int
        Number of images concerned; 0 where it is not about single images.
    number : float or None
        The figure behind a comparison of two parts.
    examples : tuple of tuple of str
        A few of the images, each with its like: file names, or part and row.
    """

    kind: str
    severity: str
    text: str
    parts: tuple[str, ...] = ()
    count: int = 0
    number: float | None = None
    examples: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class DataCheck:
    """What `check_dataset` returns.

    Attributes
    ----------
    images : dict of str to int
        How many images each part has.
    findings : tuple of Finding
        Leaks first, then traps, then notes.
    measured : tuple of str
        Sentences on comparisons that found nothing amiss, with their figures.
    seconds : float
        How long it took.
    """

    images: dict[str, int]
    findings: tuple[Finding, ...]
    measured: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Leaks and traps."""
        return tuple(found for found in self.findings if found.severity != NOTE)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "problems": len(self.problems)}
