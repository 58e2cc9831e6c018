"""Which trainings a comparison consists of, in which order, and what each learns from."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import numpy as np

from fewlabels.data import ImageDataset
from fewlabels.evaluation.asked import Asked
from fewlabels.evaluation.contenders import Contender
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.run_folder import name_of, run_name
from fewlabels.evaluation.training import Draws, Training
from fewlabels.storage.errors import InputError


class Plan:
    """The trainings of a comparison: seed by seed, each contender with each number of labels.

    Parameters
    ----------
    asked : Asked
    contenders : list of Contender
    draws : Draws
    first : ImageDataset
        The first of the draws, whose test images are those of all.
    """

    def __init__(self, asked: Asked, contenders: list[Contender], draws: Draws, first: ImageDataset) -> None:
        self._asked, self._draws, self._first = asked, draws, first
        self._parts = [(seed, size, who) for seed in asked.seeds for size in asked.sizes for who in contenders]
        self._names = [
            name_of(who.name, first.labels_per_class if size is None else size, seed) for seed, size, who in self._parts
        ]

    def __len__(self) -> int:
        return len(self._parts)

    def place(self, run: Run) -> int:
        """Return which of the trainings a run is of; one that is not among them comes after all."""
        name = run_name(run)
        return self._names.index(name) if name in self._names else len(self)

    def trainings(
        self, finished: Container[str], summaries: dict[str, dict[str, Any]]
    ) -> Iterator[tuple[Training, ImageDataset]]:
        """Yield the trainings that are not finished, each with its draw, of which `summaries` keep the facts.

        Parameters
        ----------
        finished : collection of str
            Names of runs, see `run_name`.
        summaries : dict
            Is filled, a draw at a time.

        Raises
        ------
        InputError
            If a contender does not see the same test images as the others.
        """
        asked = self._asked
        drawn: tuple[Any, ImageDataset] | None = None
        for number, ((seed, size, who), name) in enumerate(zip(self._parts, self._names, strict=True), 1):
            states = asked.states(seed)
            drawn_by = states["random_state"]
            wanted = (drawn_by, size, who.source, who.image_size)
            if drawn is None or drawn[0] != wanted:
                drawn = (wanted, self._draws(who, size, drawn_by))
            data = drawn[1]
            if not np.array_equal(data.test_labels, self._first.test_labels):
                raise InputError(f"{who.name} does not see the same test images as the others; embed the source anew")
            if name in finished:
                continue
            labels = "all" if data.labels_per_class is None else data.labels_per_class
            summary = summaries[f"{labels} labels per class, seed {drawn_by}"] = data.summary()
            training = Training(
                number,
                who,
                size,
                data.labels_per_class,
                seed,
                states,
                asked.settings_of(who.method),
                asked.combinations(who.method),
                summary["fingerprint"],
            )
            yield training, data
