"""What a check found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fewlabels.storage.cells import sentences, table, text
from fewlabels.storage.frames import new_frame

LEAK, TRAP, NOTE = "leak", "trap", "note"


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know before training.

    Attributes
    ----------
    kind : str
        "exact-copies", "near-duplicates", "copies-within", "label-conflict", "missing-class", "shifted-part",
        "stretched-part", or "not-checked".
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

    def to_frame(self) -> Any:
        """Return the findings as a pandas DataFrame, a row each.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return new_frame([asdict(finding) for finding in self.findings], [one.name for one in fields(Finding)])

    def _repr_html_(self) -> str:
        counted = ", ".join(f"{count:,} {name}" for name, count in self.images.items())
        rows = [{"": one.severity, "what": one.text, "images": one.count or None} for one in self.findings]
        verdict = "" if self.problems else "<p><b>no leak and no trap found</b></p>"
        fine = sentences([f"fine: {sentence}" for sentence in self.measured])
        return f"<p>{text(counted)} images looked at</p>{table(rows)}{verdict}{fine}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "problems": len(self.problems)}
