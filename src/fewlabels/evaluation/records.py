"""A comparison: its runs, how it was made, and what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels.evaluation.ladder import advice
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.standings import Group, groups_of
from fewlabels.evaluation.verdicts import caveat, duel_sentence, headline


@dataclass
class Comparison:
    """What `compare` returns.

    Attributes
    ----------
    class_names : tuple of str
        Names of the classes; labels are indices into it.
    config : dict
        Arguments, versions, threads, device, data and the command that repeats it.
    runs : list of Run
        The finished ones, in order.
    folder : Path or None
        Where everything lies.
    """

    class_names: tuple[str, ...]
    config: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    folder: Path | None = None

    @property
    def groups(self) -> list[Group]:
        """The runs by number of labels, with paired tests between the methods."""
        return groups_of(self.runs)

    def table(self) -> list[dict[str, Any]]:
        """Return one row a run: the columns of `results.csv`."""
        return [run.row() for run in self.runs]

    def verdicts(self) -> list[str]:
        """Return the answer in sentences: which method is best, and how each does against the first."""
        sentences = []
        for group in self.groups:
            sentences.append(headline(group))
            reference = group.standings[0].method
            for standing in group.standings[1:]:
                for duel in standing.duels:
                    if duel.other == reference and len(group.standings) > 2:
                        sentences.append(f"  {standing.method}: {duel_sentence(duel)}")
            if (note := caveat(group)) and note not in sentences:
                sentences.append(note)
        return sentences + self.advice()

    def advice(self) -> list[str]:
        """Return which rung to take and why, where rungs of the ladder were compared; nothing else."""
        rungs, embedded = self.config.get("rungs") or [], self.config.get("embedded") or {}
        return advice(self.groups, rungs, embedded) if rungs and self.runs else []

    def to_dict(self) -> dict[str, Any]:
        """Return runs, paired tests and verdicts as JSON has them; NaN becomes None."""
        duels = [
            {
                "labels_per_class": group.labels_per_class,
                "method": duel.method,
                "other": duel.other,
                "difference": duel.result.difference,
                "low": duel.result.low,
                "high": duel.result.high,
                "p_value": duel.result.p_value,
                "p_value_holm": duel.p_corrected,
                "image_p_value": duel.result.image_p_value,
                "seed_differences": list(duel.result.seed_differences),
            }
            for group in self.groups
            for standing in group.standings
            for duel in standing.duels
        ]
        found: dict[str, Any] = plain(
            {
                "source": self.config.get("source"),
                "classes": list(self.class_names),
                "verdicts": [sentence.strip() for sentence in self.verdicts()],
                "runs": [run.to_dict() for run in self.runs],
                "paired_tests": duels,
            }
        )
        return found


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NumPy scalars as Python's, NaN and infinity as None, others as text.

    Examples
    --------
    >>> plain({"a": (np.float32(0.5), float("nan"))})
    {'a': [0.5, None]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
