"""Hyper-parameters chosen by labeled images held out: every combination is trained, the best one is measured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from fewlabels.data import ImageDataset
from fewlabels.methods import METHODS, SemiSupervisedClassifier
from fewlabels.methods.targets import held_out_rows
from fewlabels.storage.errors import InputError

_NOTHING_HELD_OUT = (
    "no images are held out to choose hyper-parameters by; give more labels, a validation part, or a larger "
    "validation_fraction"
)


def fields_of(method: str) -> set[str]:
    """Return the names of the hyper-parameters that a method has."""
    return {field.name for field in fields(METHODS[method])}


def own_settings(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of several settings that a method has."""
    known = fields_of(method)
    return {name: value for name, value in settings.items() if name in known}


def combinations(method: str, choose: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of values of those hyper-parameters that a method has; one empty one if it has none.

    Examples
    --------
    >>> combinations("supervised", {"dropout": [0.0, 0.2], "rounds": [1, 2]})
    [{'dropout': 0.0}, {'dropout': 0.2}]
    """
    own = own_settings(method, choose)
    return [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]


def check_choices(choose: Mapping[str, Sequence[Any]]) -> None:
    """Refuse hyper-parameters without values to choose among."""
    for name, values in choose.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or len(set(map(repr, values))) < 2:
            quoted = ', or of text ["one", "other"] with these quotation marks' if isinstance(values, str) else ""
            raise InputError(f"choose {name}={values!r}: give two values or more, such as [0.1, 0.2]{quoted}")


def check_held_out(method: SemiSupervisedClassifier, data: ImageDataset) -> None:
    """Refuse to choose hyper-parameters where no labeled image would be held out to choose by."""
    fraction = method._resolved().validation_fraction
    if data.validation is None and not len(held_out_rows(data.labels, fraction, np.random.default_rng(0))):
        raise InputError(_NOTHING_HELD_OUT)


def best_of(
    candidates: Sequence[dict[str, Any]], fit: Callable[[int], SemiSupervisedClassifier]
) -> tuple[SemiSupervisedClassifier, list[dict[str, Any]]]:
    """Fit a method with each combination and return the one that does best on held-out images, and what was tried.

    Parameters
    ----------
    candidates : sequence of dict
        Hyper-parameters; of those that do equally well the first is taken.
    fit : callable
        Returns a fitted method, from the number of a combination. It sees no test image.

    Returns
    -------
    method : SemiSupervisedClassifier
    tried : list of dict
        `settings`, `validation_accuracy`, `used`, `fit_seconds` and `gradient_images` of each combination; empty if
        there was no choice.

    Raises
    ------
    InputError
        If nothing was held out to choose by.
    """
    if len(candidates) == 1:
        return fit(0), []
    best: SemiSupervisedClassifier | None = None
    tried: list[dict[str, Any]] = []
    chosen = 0
    for number, settings in enumerate(candidates):
        method = fit(number)
        accuracy = method.validation_accuracy_
        if math.isnan(accuracy):
            raise InputError(_NOTHING_HELD_OUT)
        cost = {"fit_seconds": method.fit_seconds_, "gradient_images": int(method.gradient_images_)}
        tried.append({"settings": settings, "validation_accuracy": accuracy, "used": False, **cost})
        if best is None or accuracy > best.validation_accuracy_:
            best, chosen = method, number
    assert best is not None
    tried[chosen]["used"] = True
    return best, tried
