"""One training of a comparison and all that it needs, so that it can be done here or on another machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewlabels.data import ImageDataset, load_dataset
from fewlabels.evaluation.choosing import best_of
from fewlabels.evaluation.contenders import Contender
from fewlabels.evaluation.measure import measure
from fewlabels.evaluation.run import Run
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.methods.embedding import warn_of_leak
from fewlabels.methods.examples import remember
from fewlabels.methods.fitting import fit_dataset
from fewlabels.training.energy import EnergyMeter
from fewlabels.training.monitor import Event

# Is told the number of a combination of hyper-parameters, and an event of its training.
Tell = Callable[[int, Event], None]


@dataclass(frozen=True)
class Draws:
    """How the data sets of a comparison are drawn.

    Attributes
    ----------
    source : object
        What the comparison was asked for, which what a contender learns from may be made of.
    options : dict
        More arguments of `load_dataset`.
    """

    source: Any
    options: dict[str, Any]

    def __call__(
        self, who: Contender, labels_per_class: int | None, random_state: int, *, progress: bool = False
    ) -> ImageDataset:
        """Return what a contender learns from and is measured on."""
        source = self.source if who.source is None else who.source
        if isinstance(source, ImageDataset):
            return source
        data = load_dataset(
            source,
            image_size=who.image_size,
            labels_per_class=labels_per_class,
            random_state=random_state,
            progress=progress,
            **self.options,
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
    """

    number: int
    who: Contender
    asked_per_class: int | None
    labels_per_class: int | None
    seed: int
    states: dict[str, Any]
    settings: dict[str, Any]
    candidates: list[dict[str, Any]]

    def make(self, which: int) -> SemiSupervisedClassifier:
        """Return the method with one of the combinations, untrained."""
        return self.who.make(**self.states, **{**self.settings, **self.candidates[which]})

    def place(self, checkpoint: Path, which: int) -> Path:
        """Return the folder for the checkpoints of one of the combinations."""
        return checkpoint.with_name(f"{checkpoint.name}-{which}") if len(self.candidates) > 1 else checkpoint

    def draw(self, draws: Draws) -> ImageDataset:
        """Return the images."""
        return draws(self.who, self.asked_per_class, self.states["random_state"])


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
