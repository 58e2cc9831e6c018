"""A comparison: its runs, how it was made, and what follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewlabels.evaluation.conditions import labels_are_kept
from fewlabels.evaluation.ladder import advice
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.standings import LABELS_ALONE, Duel, Group, groups_of
from fewlabels.evaluation.verdicts import caveat, duel_sentence, headline, pool_lines
from fewlabels.storage.cells import sentences, table, text
from fewlabels.storage.errors import InputError, nearest
from fewlabels.storage.frames import new_frame
from fewlabels.storage.plain import plain
from fewlabels.storage.wording import percentage

_TEST_COLUMNS = (
    "labels_per_class",
    "method",
    "other",
    "difference",
    "low",
    "high",
    "p_value",
    "p_value_holm",
    "image_p_value",
    "seed_differences",
    "error_reduction",
    "cohens_g",
    "cohens_d",
)
_FRAMES = ("runs", "tests", "history")


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
    _grouped: tuple[list[Run], list[Group]] = field(
        default_factory=lambda: ([], []), init=False, repr=False, compare=False
    )

    @property
    def groups(self) -> list[Group]:
        """The runs by number of labels, with paired tests between the methods."""
        runs, groups = self._grouped
        # Tests of many methods on many images take seconds, and each table and sentence asks for them.
        if len(runs) != len(self.runs) or any(one is not other for one, other in zip(runs, self.runs, strict=True)):
            groups = groups_of(self.runs)
            self._grouped = [*self.runs], groups
        return groups

    def table(self) -> list[dict[str, Any]]:
        """Return one row a run: the columns of `results.csv`."""
        return [run.row() for run in self.runs]

    def verdicts(self) -> list[str]:
        """Return the answer in sentences: which method is best, and whether the pool helped each.

        Where the labels alone (`supervised`) are not among the methods, each is set against the first.
        """
        sentences = []
        for group in self.groups:
            sentences.append(headline(group))
            reference = group.standings[0].method
            alone = group.has_pool and any(standing.method == LABELS_ALONE for standing in group.standings)
            of_pool = pool_lines(group)
            for standing in group.standings:
                if standing.method in of_pool:
                    sentences.append(f"  {standing.method}: {of_pool[standing.method]}")
                elif alone and (duel := group.duel(standing.method, LABELS_ALONE)) is not None:
                    sentences.append(f"  {standing.method}: {duel_sentence(duel)}")
                elif not alone and len(group.standings) > 2:
                    sentences += [
                        f"  {standing.method}: {duel_sentence(d)}" for d in standing.duels if d.other == reference
                    ]
            if (note := caveat(group, same_labels=labels_are_kept(self.config))) and note not in sentences:
                sentences.append(note)
        return sentences + self.advice()

    def advice(self) -> list[str]:
        """Return which rung to take and why, where rungs of the ladder were compared; nothing else."""
        rungs, embedded = self.config.get("rungs") or [], self.config.get("embedded") or {}
        return advice(self.groups, rungs, embedded) if rungs and self.runs else []

    def paired_tests(self) -> list[dict[str, Any]]:
        """Return one row for each pair of methods with the same labels: difference, interval, p-values, effects."""
        return [
            _test_row(group.labels_per_class, duel)
            for group in self.groups
            for standing in group.standings
            for duel in standing.duels
        ]

    def to_frame(self, what: str = "runs") -> Any:
        """Return the results as a pandas DataFrame.

        Parameters
        ----------
        what : {"runs", "tests", "history"}
            A row each run, each pair of methods, or each progress event of a run.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        InputError
            If pandas is not installed, or `what` is something else.
        """
        if what == "runs":
            return new_frame([{**run.row(), **run.trust_row()} for run in self.runs])
        if what == "tests":
            return new_frame(self.paired_tests(), _TEST_COLUMNS)
        if what == "history":
            keys = ("method", "labels_per_class", "seed")
            return new_frame(
                [{**{key: getattr(run, key) for key in keys}, **event} for run in self.runs for event in run.history]
            )
        raise InputError(f"what={what!r} is none of {', '.join(_FRAMES)}{nearest(str(what), _FRAMES)}")

    def _repr_html_(self) -> str:
        rows = [
            {
                "method": run.method,
                "labels per class": "all" if run.labels_per_class is None else str(run.labels_per_class),
                "seed": run.seed,
                "validation %": percentage(run.validation_accuracy),
                "test %": percentage(run.test_accuracy),
                "95 % interval": f"{percentage(run.test_low)} to {percentage(run.test_high)}",
                "seconds": f"{run.fit_seconds:,.1f}",
            }
            for run in self.runs
        ]
        report = "" if self.folder is None else f"<p>report: {text(self.folder / 'report.html')}</p>"
        title = f"{self.config.get('source', '')}: accuracy"
        return table(rows, title=title) + sentences(self.verdicts() if self.runs else []) + report

    def to_dict(self) -> dict[str, Any]:
        """Return runs, paired tests and verdicts as JSON has them; NaN becomes None."""
        found: dict[str, Any] = plain(
            {
                "source": self.config.get("source"),
                "classes": list(self.class_names),
                "verdicts": [sentence.strip() for sentence in self.verdicts()],
                "runs": [run.to_dict() for run in self.runs],
                "paired_tests": self.paired_tests(),
            }
        )
        return found


def _test_row(labels_per_class: int | None, duel: Duel) -> dict[str, Any]:
    """Return a duel's row of the tests: of the columns that are not named here, its result has the values."""
    own = {
        "labels_per_class": labels_per_class,
        "method": duel.method,
        "other": duel.other,
        "p_value_holm": duel.p_corrected,
        "seed_differences": list(duel.result.seed_differences),
    }
    return {column: own[column] if column in own else getattr(duel.result, column) for column in _TEST_COLUMNS}
