"""What a comparison compares: methods, or rungs of the ladder, each with the data that it learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fewlabels.data import ImageDataset
from fewlabels.data.features import is_feature_folder
from fewlabels.methods import SemiSupervisedClassifier, make_method, method_name
from fewlabels.methods.embedding import own_size
from fewlabels.methods.feature_cache import make_features
from fewlabels.methods.rungs import RUNGS, Rung, check_rungs
from fewlabels.nets import load_backbone
from fewlabels.storage.errors import InputError


@dataclass(frozen=True)
class Contender:
    """A method, or a rung, and where its data come from.

    Attributes
    ----------
    name : str
        Its name in the results.
    method : str
        A key of `METHODS`.
    source : object
        What `load_dataset` takes.
    image_size : int or None
        Side of the images that it learns from; None: as the source gives them.
    settings : dict
        Hyper-parameters that make it what it is.
    embedded_size : int or None
        Where features were made for it: side of the images that they were made of; None: as the source gives them.
    """

    name: str
    method: str
    source: Any
    image_size: int | None
    settings: dict[str, Any] = field(default_factory=dict)
    embedded_size: int | None = None

    def make(self, **settings: Any) -> SemiSupervisedClassifier:
        """Return the method, untrained."""
        return make_method(self.method, **{**settings, **self.settings})


@dataclass(frozen=True)
class Field:
    """The contenders, and what it took to make features for them.

    Attributes
    ----------
    contenders : list of Contender
    rungs : list of str
        Names of the rungs, cheapest first, where they are that.
    embedded : dict
        `images`, `seconds`, `net`, `trained_on` of the features that were made; empty without them.
    """

    contenders: list[Contender]
    rungs: list[str] = field(default_factory=list)
    embedded: dict[str, Any] = field(default_factory=dict)


def enter(
    source: Any,
    *,
    methods: list[str],
    rungs: Any = None,
    net: Any = None,
    image_size: int | None = None,
    fold: int | None = None,
    **options: Any,
) -> Field:
    """Return who takes part; features are made here, once, and kept in the cache folder.

    Parameters
    ----------
    source : object
        See `compare`.
    methods : list of str
        Methods, where no rungs are asked for.
    rungs : sequence of str, optional
        See `RUNGS`.
    net : str or nn.Module, optional
        A pretrained net: rungs use it; methods learn from its features.
    image_size, fold
        See `load_dataset`.
    **options
        `strict`, `cache_dir`, `progress` and `device`, see `embed`.

    Raises
    ------
    InputError
        If a rung or the net cannot be had, or the data are no images.
    """
    if rungs is None and net is None:
        return Field([Contender(name, name, source, image_size) for name in methods])
    is_features = isinstance(source, str | Path) and is_feature_folder(Path(source))
    if isinstance(source, ImageDataset):
        raise InputError("with net or rungs, give the source itself rather than a data set that is loaded already")
    if fold is not None and net is not None:
        raise InputError(f"fold={fold} does not go with a pretrained net; give labels_per_class and seeds")
    if is_features and net is not None:
        raise InputError(f"{source} holds features already; leave net away")
    chosen = [] if rungs is None else check_rungs(rungs, net=net, is_features=is_features)
    with torch.random.fork_rng(devices=[]):
        backbone = None if net is None else load_backbone(net)
    place, embedded, read_at = source, dict[str, Any](), None
    if backbone is not None and (rungs is None or any(rung.on_features for rung in chosen)):
        read_at = own_size(source, backbone) if image_size is None else image_size
        place, embedded = make_features(source, backbone, read_at, **options)
    if rungs is None:
        return Field([Contender(name, name, place, None, embedded_size=read_at) for name in methods], [], embedded)
    size = None if backbone is None else backbone.facts.size
    found = [_contender(rung, source, place, net, image_size, size, read_at) for rung in chosen]
    return Field(found, [rung.name for rung in chosen], embedded)


def idea_of(name: str) -> str:
    """Return the idea of a rung in a sentence, or nothing where there is no such rung."""
    return RUNGS[name].idea if name in RUNGS else ""


def _contender(
    rung: Rung,
    source: Any,
    features: Any,
    net: Any,
    image_size: int | None,
    net_size: int | None,
    read_at: int | None,
) -> Contender:
    method = rung.make(None if rung.on_features else net)
    settings = {"net": net, "freeze": False} if rung.name == "finetune" else {}
    place, size = (features, None) if rung.on_features else (source, image_size)
    if rung.pretrained and not rung.on_features and image_size is None:
        size = net_size
    return Contender(rung.name, method_name(type(method)), place, size, settings, read_at if rung.on_features else None)
