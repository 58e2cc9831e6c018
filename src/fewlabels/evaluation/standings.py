"""Where each method stands: its accuracy over the seeds, and the paired tests against the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fewlabels.evaluation.intervals import mean_interval
from fewlabels.evaluation.paired import PairedResult, compare_over_seeds, holm
from fewlabels.evaluation.run import Run
from fewlabels.methods import METHODS

LEVEL = 0.05
# The method that learns from the labeled images and nothing else.
LABELS_ALONE = "supervised"


@dataclass(frozen=True)
class Duel:
    """A method against one that comes before it, at the same labels.

    Attributes
    ----------
    method, other : str
        The difference is that of `method` over `other`.
    result : PairedResult
        The test on the same images.
    p_corrected : float
        Its p-value after Holm's correction for all duels of the comparison.
    """

    method: str
    other: str
    result: PairedResult
    p_corrected: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is more than chance explains (corrected p below 0.05)."""
        return self.p_corrected < LEVEL

    @property
    def would_be_shown_alone(self) -> bool:
        """Whether it would be more than chance explains, were this the only pair of the comparison."""
        return self.result.p_value < LEVEL


@dataclass(frozen=True)
class Standing:
    """A method at one number of labels.

    Attributes
    ----------
    method : str
    runs : tuple of Run
        One a seed.
    test_accuracy, low, high : float
        Mean over the seeds with its 95 % interval: Wilson's over images for one seed; for more, as wide as the mean
        of those and Student's over seeds together.
    duels : tuple of Duel
        Against the methods before it.
    """

    method: str
    runs: tuple[Run, ...]
    test_accuracy: float
    low: float
    high: float
    duels: tuple[Duel, ...] = ()

    @property
    def train_accuracy(self) -> float:
        """Mean over the seeds."""
        return float(np.mean([run.train_accuracy for run in self.runs]))

    @property
    def validation_accuracy(self) -> float:
        """Mean over the seeds; NaN if nothing was held out."""
        return float(np.mean([run.validation_accuracy for run in self.runs]))

    @property
    def fit_seconds(self) -> float:
        """Mean over the seeds."""
        return float(np.mean([run.fit_seconds for run in self.runs]))

    def spent(self, what: str) -> float:
        """Return the mean over the seeds of `Run.spent`."""
        return float(np.mean([run.spent(what) for run in self.runs]))


@dataclass(frozen=True)
class Group:
    """All methods at one number of labels, in the order they were asked for."""

    labels_per_class: int | None
    standings: tuple[Standing, ...]

    @property
    def labels_given(self) -> int:
        """How many labels a file gave beside those of `labels_per_class`: the same in all runs."""
        return self.standings[0].runs[0].labels_given

    @property
    def best(self) -> Standing:
        """The method of highest mean test accuracy."""
        return max(self.standings, key=lambda standing: standing.test_accuracy)

    @property
    def leaders(self) -> list[Standing]:
        """All methods of that accuracy; means of the same numbers in another order may differ by rounding."""
        top = self.best.test_accuracy
        return [one for one in self.standings if math.isclose(one.test_accuracy, top, abs_tol=1e-9)]

    @property
    def has_pool(self) -> bool:
        """Whether there were images without labels to learn from."""
        return any(run.pool_sample is not None for one in self.standings for run in one.runs)

    def pool_duel(self, method: str) -> Duel | None:
        """Return the duel of a method that learns from the pool with the labels alone; None if there is none."""
        known = METHODS.get(method)
        if (known is not None and not known._learns_from_pool) or method in self.without_pool:
            return None
        return self.duel(method, LABELS_ALONE)

    def has_net_of_labels_alone(self, method: str) -> bool:
        """Whether a method trains the net that the labels alone train, by the number of parameters."""
        sizes = {one.method: {run.parameters for run in one.runs} for one in self.standings}
        return sizes[method] == sizes.get(LABELS_ALONE, sizes[method])

    @property
    def without_pool(self) -> list[str]:
        """Methods that have learned from the labels alone in every seed, by a guard or by what `auto` chose."""
        return [one.method for one in self.standings if all(run.held_back or run.labels_alone for run in one.runs)]

    def duel(self, method: str, other: str) -> Duel | None:
        """Return the duel of two methods, turned so that `method` comes first; None if they share no seed."""
        for standing in self.standings:
            for duel in standing.duels:
                if (duel.method, duel.other) == (method, other):
                    return duel
                if (duel.method, duel.other) == (other, method):
                    return Duel(method, other, _turned(duel.result), duel.p_corrected)
        return None


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Sort runs into groups of the same labels and test every pair of methods in each.

    Methods are compared over the seeds that both have finished. The p-values of all groups are corrected
    together.
    """
    sizes = list(dict.fromkeys(run.labels_per_class for run in runs))
    groups, tests = [], []
    for size in sizes:
        members = [run for run in runs if run.labels_per_class == size]
        by_method: dict[str, list[Run]] = {}
        for run in members:
            by_method.setdefault(run.method, []).append(run)
        groups.append((size, by_method))
        names = list(by_method)
        for position, name in enumerate(names):
            for other in names[:position]:
                result = _paired(by_method[other], by_method[name])
                if result is not None:
                    tests.append((size, name, other, result))
    corrected = holm([result.p_value for *_, result in tests])
    duels = [
        (size, Duel(name, other, result, p)) for (size, name, other, result), p in zip(tests, corrected, strict=True)
    ]
    return [
        Group(
            size,
            tuple(
                _standing(name, own, tuple(duel for at, duel in duels if at == size and duel.method == name))
                for name, own in by_method.items()
            ),
        )
        for size, by_method in groups
    ]


def _standing(name: str, runs: list[Run], duels: tuple[Duel, ...]) -> Standing:
    mean, low, high = mean_interval([run.test_accuracy for run in runs])
    # Seeds that happen to agree say nothing of other test images. Of one there is no interval over seeds: it is NaN.
    low = float(np.fmin(low, np.mean([run.test_low for run in runs])))
    high = float(np.fmax(high, np.mean([run.test_high for run in runs])))
    return Standing(name, tuple(runs), mean, max(0.0, low), min(1.0, high), duels)


def _paired(runs_a: list[Run], runs_b: list[Run]) -> PairedResult | None:
    by_seed = {run.seed: run for run in runs_a}
    pairs = [(by_seed[run.seed], run) for run in runs_b if run.seed in by_seed]
    if not pairs:
        return None
    return compare_over_seeds([a.correct for a, _ in pairs], [b.correct for _, b in pairs])


def _turned(result: PairedResult) -> PairedResult:
    # Where A makes no mistake and B some, A spares all of them.
    spares_all = math.isnan(result.error_reduction) and result.difference != 0
    # Subtracted from zero rather than turned around: -0.0 would be shown as "-0.0 points".
    return replace(
        result,
        difference=0.0 - result.difference,
        low=0.0 - result.high,
        high=0.0 - result.low,
        seed_differences=tuple(0.0 - difference for difference in result.seed_differences),
        error_reduction=1.0 if spares_all else turned_reduction(result.error_reduction),
        cohens_g=0.0 - result.cohens_g,
        cohens_d=0.0 - result.cohens_d,
    )


def turned_reduction(reduction: float) -> float:
    """Return the error reduction of A over B from that of B over A; NaN where B makes no mistake.

    Examples
    --------
    >>> turned_reduction(0.5), turned_reduction(-1.0)
    (-1.0, 0.5)
    """
    return math.nan if reduction == 1 else (0.0 - reduction) / (1 - reduction)
