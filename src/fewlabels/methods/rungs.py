"""The ladder from cheap to costly: a probe on a pretrained net's features, learning with the pool on them, training on.

Each rung is a plain function that returns a method; which rungs a data set allows, `possible_rungs` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.registry import make_method
from fewlabels.storage.errors import InputError, nearest


def probe(net: Any = None, **settings: Any) -> SemiSupervisedClassifier:
    """Return the cheapest rung: logistic regression on a pretrained net's features.

    Parameters
    ----------
    net : str or nn.Module, optional
        The pretrained net, for images; none for features that are given.
    **settings
        Of the method.

    Examples
    --------
    >>> probe("hf:facebook/dinov2-small")
    LinearProbe(net='hf:facebook/dinov2-small')
    """
    return make_method("linear-probe", **_with_net(net), **settings)


def features(net: Any = None, **settings: Any) -> SemiSupervisedClassifier:
    """Return the rung that learns with the pool on a pretrained net's features; see `probe`.

    Examples
    --------
    >>> features()
    EnsembleLabels()
    """
    return make_method("ensemble-labels", **_with_net(net), **settings)


def finetune(net: Any = None, **settings: Any) -> SemiSupervisedClassifier:
    """Return the rung that trains a pretrained net further on the labels, with gentle rates; see `probe`.

    Examples
    --------
    >>> finetune("hf:facebook/dinov2-small")
    Supervised(freeze=False, net='hf:facebook/dinov2-small')
    """
    return make_method("supervised", **_with_net(net), freeze=False, **settings)


def scratch(net: Any = None, **settings: Any) -> SemiSupervisedClassifier:
    """Return the rung that needs no pretrained net: self-training from random weights.

    Examples
    --------
    >>> scratch()
    SelfTraining()
    """
    del net
    return make_method("self-training", **settings)


@dataclass(frozen=True)
class Rung:
    """A rung of the ladder.

    Attributes
    ----------
    name : str
    idea : str
        In a sentence.
    make : callable
        Returns its method, given the pretrained net and settings.
    on_features : bool
        Whether it learns from features, which are made once.
    pretrained : bool
        Whether it takes a pretrained net.
    """

    name: str
    idea: str
    make: Callable[..., SemiSupervisedClassifier]
    on_features: bool
    pretrained: bool


RUNGS = {
    rung.name: rung
    for rung in (
        Rung("probe", "Logistic regression on a pretrained net's features.", probe, True, True),
        Rung("features", "Learning with the pool on a pretrained net's features.", features, True, True),
        Rung("finetune", "A pretrained net, trained further on the labels.", finetune, False, True),
        Rung("scratch", "Self-training of a net that starts from random weights.", scratch, False, False),
    )
}


def possible_rungs(*, net: Any = None, is_features: bool = False) -> dict[str, str]:
    """Say for each rung, cheapest first, what stands against it; nothing where it is possible.

    Parameters
    ----------
    net : str or nn.Module, optional
        A pretrained net, where one is given.
    is_features : bool
        Whether the data set holds features rather than images (`ImageDataset.is_features`).

    Returns
    -------
    dict of str to str
        Empty text: possible.

    Examples
    --------
    >>> [name for name, against in possible_rungs(is_features=True).items() if not against]
    ['probe', 'features']
    >>> possible_rungs()["probe"]
    'no pretrained net is given, such as net="hf:facebook/dinov2-small"'
    """
    found = {}
    for rung in RUNGS.values():
        found[rung.name] = ""
        if is_features and not rung.on_features:
            found[rung.name] = "the source holds features and no images"
        elif not is_features and rung.pretrained and net is None:
            found[rung.name] = 'no pretrained net is given, such as net="hf:facebook/dinov2-small"'
    return found


def check_rungs(names: Sequence[str] | str, *, net: Any = None, is_features: bool = False) -> list[Rung]:
    """Return rungs by their names.

    Parameters
    ----------
    names : sequence of str or str
        Keys of `RUNGS`, in any order; "all" for all that are possible.
    net, is_features
        See `possible_rungs`.

    Raises
    ------
    InputError
        If there is no such rung, or it is not possible.
    """
    chosen = [names] if isinstance(names, str) else list(names)
    against = possible_rungs(net=net, is_features=is_features)
    if chosen == ["all"]:
        chosen = [name for name, reason in against.items() if not reason]
    for name in chosen:
        if name not in RUNGS:
            raise InputError(f"unknown rung {name!r}{nearest(name, RUNGS)} (known: {', '.join(RUNGS)})")
        if against[name]:
            raise InputError(f"the rung {name!r} is not possible here: {against[name]}")
    if not chosen:
        raise InputError(f"no rung is given; choose of {', '.join(RUNGS)}")
    return [rung for name, rung in RUNGS.items() if name in chosen]


def _with_net(net: Any) -> dict[str, Any]:
    return {} if net is None else {"net": net}
