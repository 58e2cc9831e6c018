"""A method that teaches a part of another one: its settings, and how they are told."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fewlabels.methods.settings import Settings

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier


def inner_method(outer: SemiSupervisedClassifier, name: str, **settings: Any) -> SemiSupervisedClassifier:
    """Return a method with what was set in another of the settings that all methods share, its preset applied.

    Parameters
    ----------
    outer : SemiSupervisedClassifier
        Of which it teaches a part.
    name : str
        A key of `fewlabels.METHODS`. A `preset` that it does not have is not passed on.
    **settings
        Further ones of that method.

    Examples
    --------
    >>> from fewlabels import SimCLR
    >>> inner_method(SimCLR(steps=7, preset="short"), "free-match").warm_start
    0.2
    """
    from fewlabels.methods.registry import METHODS

    method = METHODS[name]
    given = outer._shared_settings()
    if given.get("preset") not in ("auto", *method.PRESETS):
        given.pop("preset", None)
    return method(**given, **settings)._resolved()


def learned_attributes(inner: SemiSupervisedClassifier) -> dict[str, Any]:
    """Return what a method has learned so far, by name, for the one that it teaches a part of.

    But for `n_iter_`: what it counts, such as rounds, is not what the other one does.
    """
    return {name: value for name, value in vars(inner).items() if name.endswith("_") and name != "n_iter_"}


def settings_with_inner(outer: SemiSupervisedClassifier, inner: SemiSupervisedClassifier, part: str) -> dict[str, Any]:
    """Return the hyper-parameters that were learned by: those that only the inner method has are named `part.NAME`."""
    shared = {field.name for field in fields(Settings)}
    of_part = getattr(inner, "settings_", inner._plain_settings()).items()
    return outer._plain_settings() | {name if name in shared else f"{part}.{name}": value for name, value in of_part}
