"""One training of a comparison and all that it needs, so that it can be done here or on another machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewlabels.data import ImageDataset
from fewlabels.data.sources import ReadSource, read_source
from fewlabels.evaluation.choosing import best_of
from fewlabels.evaluation.contenders import Contender
from fewlabels.evaluation.measure import measure
from fewlabels.evaluation.run import Run
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.methods.embedding import warn_of_leak
from fewlabels.methods.examples import remember
from fewlabels.methods.fitting import fit_dataset
from fewlabels.storage.errors import InputError
from fewlabels.training.energy import EnergyMeter
from fewlabels.training.monitor import Event

# Is told the number of a combination of hyper-parameters, and an event of its training.
Tell = Callable[[int, Event], None]


@dataclass(frozen=True)
class Draws:
    """How the data sets of a comparison are drawn: all from one reading of the source, which may change meanwhile.

    Attributes
    ----------
    source : object
        What the comparison was asked for, which what a contender learns from may be made of.
    options : dict
        Of `load_dataset`, those that say how the source is read.
    test_per_class : int or None
        See `load_dataset`.
    """

    source: Any
    options: dict[str, Any]
    test_per_class: int | None = None
    _read: dict[tuple[Any, int | None], ReadSource] = field(default_factory=dict, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another machine reads for itself, rather than being sent all images.
        return Draws, (self.source, self.options, self.test_per_class)

    def read(self, who: Contender, *, progress: bool = False) -> ReadSource:
        """Return what a contender's data are drawn from, which is read once."""
        source = self.source if who.source is None else who.source
        name = source if isinstance(source, str | Path) else id(source), who.image_size
        if name not in self._read:
            self._read[name] = read_source(source, image_size=who.image_size, progress=progress, **self.options)
        return self._read[name]

    def __call__(
        self, who: Contender, labels_per_class: int | None, random_state: int, *, progress: bool = False
    ) -> ImageDataset:
        """Return what a contender learns from and is measured on."""
        source = self.source if who.source is None else who.source
        if isinstance(source, ImageDataset):
            return source
        data = self.read(who, progress=progress).draw(
            labels_per_class, test_per_class=self.test_per_class, random_state=random_state
        )
        if data.origin is None:
            return data
        # Of features that were made here, the images are what there is to go back to, as the net was given them.
        size = who.embedded_size if data.is_features else who.image_size
        return replace(data, origin={**data.origin, "source": str(self.source), "image_size": size})

    def without_source(self, training: Training) -> Training:
        """Return a training without the source where it is the one that this has: to be sent along with it."""
        if training.who.source is not self.source:
            return training
        return replace(training, who=replace(training.who, source=None))


@dataclass(frozen=True)
class Training:
    """A contender, a draw of labels, and a seed.

    Attributes
    ----------
    number : int
        Among those of the comparison, from 1 on.
    who : Contender
    asked_per_class : int or None
        Labels of each class that were asked for.
    labels_per_class : int or None
        Labels of each class that the draw has.
    seed : int
        Of the comparison.
    states : dict
        What the method's randomness follows from.
    settings : dict
        Hyper-parameters, length.
    candidates : list of dict
        Combinations of more hyper-parameters, to choose among.
    fingerprint : str
        Of its draw.
    """

    number: int
    who: Contender
    asked_per_class: int | None
    labels_per_class: int | None
    seed: int
    states: dict[str, Any]
    settings: dict[str, Any]
    candidates: list[dict[str, Any]]
    fingerprint: str

    def make(self, which: int) -> SemiSupervisedClassifier:
        """Return the method with one of the combinations, untrained."""
        return self.who.make(**self.states, **{**self.settings, **self.candidates[which]})

    def place(self, checkpoint: Path, which: int) -> Path:
        """Return the folder for the checkpoints of one of the combinations."""
        return checkpoint.with_name(f"{checkpoint.name}-{which}") if len(self.candidates) > 1 else checkpoint

    def draw(self, draws: Draws) -> ImageDataset:
        """Return the images, as another machine reads them.

        Raises
        ------
        InputError
            If they, or the labels, are others than those that the comparison began with.
        """
        data = draws(self.who, self.asked_per_class, self.states["random_state"])
        if data.fingerprint != self.fingerprint:
            raise InputError(
                f"the comparison was begun with other images or labels: {data.source} has changed since, or is another "
                "on the machine that trains; put them back and go on with --resume, or begin anew with --overwrite"
            )
        return data


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    method : SemiSupervisedClassifier
        Fitted.
    run : Run
        What was measured.
    used : int
        Which of the combinations was taken.
    """

    method: SemiSupervisedClassifier
    run: Run
    used: int


def train(training: Training, data: ImageDataset, *, tell: Tell, checkpoint: Path, every: float) -> Trained:
    """Fit, choose, and measure once.

    Parameters
    ----------
    training : Training
    data : ImageDataset
        Its draw.
    tell : callable
        Is told of each event.
    checkpoint : Path
        Folder for its checkpoints; a training that was stopped there goes on.
    every : float
        Seconds between checkpoints.
    """
    spent: dict[int, float] = {}

    def fit(which: int) -> SemiSupervisedClassifier:
        method, place = training.make(which), training.place(checkpoint, which)
        # Of a training that goes on, the part before is not known.
        whole = not place.exists()
        with EnergyMeter() as meter:
            fit_dataset(
                method,
                data,
                observer=lambda event: tell(which, event),
                checkpoint=place,
                checkpoint_every=every,
            )
        spent[which] = meter.joules if whole else math.nan
        return method

    method, tried = best_of(training.candidates, fit)
    for which, row in enumerate(tried):
        row["energy_joules"] = spent[which]
    warn_of_leak(method, data)
    remember(method, data)
    used = next((which for which, row in enumerate(tried) if row["used"]), 0)
    run = measure(
        training.who.name,
        method,
        data,
        labels_per_class=training.labels_per_class,
        seed=training.seed,
        tried=tried,
        energy_joules=spent[used],
    )
    return Trained(method, run, used)
