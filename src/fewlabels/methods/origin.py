"""Where a fitted method's data came from, and how they are read again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewlabels.data import ImageDataset, load_dataset
from fewlabels.data.features import is_feature_folder
from fewlabels.data.given import read_given
from fewlabels.data.moved import found_again
from fewlabels.data.pool import DEFAULT_LIMIT
from fewlabels.data.rows import RecoloredRows
from fewlabels.storage.errors import InputError, MissingSource

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.nets import BackboneFacts


def on_features(method: SemiSupervisedClassifier) -> bool:
    """Say whether a method was fitted on features that a pretrained net had made before."""
    return method._backbone_place == "reference"


def origin_of(method: SemiSupervisedClassifier) -> dict[str, Any]:
    """Return the arguments of `load_dataset` that give what a method was fitted on; empty where it does not say."""
    return getattr(method, "source_", {})


def place_of(method: SemiSupervisedClassifier, source: str | Path | None = None) -> str | None:
    """Return where the images for a fitted method are: what was given, or what it was fitted on, where it says that."""
    own: str | None = origin_of(method).get("source")
    return own if source is None else str(source)


def size_to_read(method: SemiSupervisedClassifier, source: str) -> int | None:
    """Return the side that a source's images are to be read at for a fitted method: that which its net was fed.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        On images, or on features of them.
    source : str
        Where the images are.
    """
    # Features have no size, whatever that of the images was which they are of.
    if is_feature_folder(Path(source)):
        return None
    if not on_features(method):
        shape = method.image_shape_
        return None if shape is None else side_of(shape)
    known: int | None = origin_of(method).get("image_size")
    # Digits have one size.
    if known is not None or source == "digits":
        return known
    facts: BackboneFacts = method.backbone_facts_
    return facts.read_at or facts.size


def side_of(shape: tuple[int, ...]) -> int | None:
    """Return the side that images are to be read at for a net that was fed images of a shape; None for their own size.

    Only arrays have images that are no squares, and these are not resized.
    """
    return shape[0] if shape[0] == shape[1] else None


def how_to_read(method: SemiSupervisedClassifier, source: str | Path | None = None) -> dict[str, Any]:
    """Return the arguments of `load_to_label` that give the images at the side which a method's net was fed.

    What a folder's images are read at by default changes with its images.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Usually from `fewlabels.load`.
    source : str or Path, optional
        Where the images are; when not given, what the method was fitted on, which is then not among the arguments.
    """
    place = place_of(method, source)
    changes = {} if source is None else {"source": source}
    return changes if place is None else {**changes, "image_size": size_to_read(method, place)}


def how_to_label(method: SemiSupervisedClassifier, source: str | Path | None = None) -> dict[str, Any]:
    """Return what `how_to_read` does for what can be labeled by hand, which images of a pool in shards cannot.

    Parameters
    ----------
    method, source
        See `how_to_read`.
    """
    without = {} if origin_of(method).get("pool") is None else {"pool": None, "pool_limit": DEFAULT_LIMIT}
    return {**how_to_read(method, source), **without}


def load_source(method: SemiSupervisedClassifier, **changes: Any) -> ImageDataset:
    """Read the data again that a model was fitted on.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Usually from `fewlabels.load`.
    **changes
        Other arguments for `load_dataset` than those of the fit, `source` among them.

    Raises
    ------
    InputError
        If the model does not say where its data came from, or they are not there any more.

    Examples
    --------
    >>> from fewlabels import Supervised, load_dataset
    >>> from fewlabels.methods.examples import remember
    >>> data = load_dataset("digits", labels_per_class=3)
    >>> method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    >>> remember(method, data)
    >>> load_source(method).fingerprint == data.fingerprint
    True
    """
    known = origin_of(method)
    if not known and "source" not in changes:
        raise InputError("the model does not say what it was fitted on; give the source")
    given = {**known, **changes}
    pool = None if "pool" in changes else known.get("pool")
    with remembered(None if "source" in changes else known["source"]), _telling_what_opened(pool):
        return load_dataset(given.pop("source"), **given)


def load_to_label(method: SemiSupervisedClassifier, **changes: Any) -> ImageDataset:
    """Read the data again that a model was fitted on, with all labels given by hand, as they are by now.

    Where these alone tell the classes, so many of each as the fit was given would leave what was labeled since in the
    pool.

    Parameters
    ----------
    method, **changes
        See `load_source`.
    """
    known = {**origin_of(method), **changes}
    if known.get("labels") is None or known.get("labels_per_class") is None or "labels_per_class" in changes:
        return load_source(method, **changes)
    # First without: of a class that is new there may be fewer.
    data = load_source(method, **changes, labels_per_class=None)
    return data if data.labels_tell else load_source(method, **changes)


def as_read_by(method: SemiSupervisedClassifier, data: ImageDataset) -> ImageDataset:
    """Return a data set with images of the shape that a fitted method reads.

    One image in color makes those of a folder color images: it may have come, or gone, since the method was fitted on
    that folder, and is no reason to refuse the others.

    Raises
    ------
    InputError
        If the images have another size; the message tells both.
    """
    wanted, given = method.image_shape_, tuple(data.labeled.shape[1:])
    if wanted is None or data.is_features or on_features(method) or given == tuple(wanted):
        return data
    if given[:2] == tuple(wanted[:2]):
        kind = "gray" if wanted[2] == 1 else "color"
        return replace(
            data,
            labeled=RecoloredRows(data.labeled),
            pool=RecoloredRows(data.pool),
            test=RecoloredRows(data.test),
            validation=None if data.validation is None else RecoloredRows(data.validation),
            notes=(*data.notes, f"images are taken as {kind} ones, which the model reads"),
        )

    def called(shape: tuple[int, ...]) -> str:
        return f"{'gray' if shape[2] == 1 else 'color'} images of {shape[0]}x{shape[1]} pixels"

    raise InputError(
        f"{data.source} gives {called(given)}, and the model reads {called(tuple(wanted))}; give images of that kind "
        "(`fewlabels predict` brings files to it)"
    )


def is_source_of(method: SemiSupervisedClassifier, place: Any) -> bool:
    """Say whether a place is what a method says that it was fitted on, though it may be called otherwise now.

    Where that is gone, it is a folder that holds most of the images which the method's labels name.
    """
    own = origin_of(method).get("source")
    if own is None:
        return False
    if str(place) == own or os.path.realpath(place) == os.path.realpath(own):
        return True
    if not os.path.isabs(own) or os.path.exists(own) or not os.path.isdir(place):
        return False
    labels = labels_of(method, place)
    files = [] if labels is None else [file.replace("\\", "/") for file in read_given(labels).classes]
    # An image that is called by its whole path is none of a folder that has moved.
    here = [file for file in files if not os.path.isabs(file) and os.path.isfile(os.path.join(place, file))]
    return 2 * len(here) > len(files)


def labels_of(method: SemiSupervisedClassifier, place: Any) -> str | dict[str, str] | None:
    """Return the labels given by hand that a method says it was fitted with; None where their file is gone too.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Usually from `fewlabels.load`.
    place : str or Path
        Where its source is now: a file that is gone is looked for as far from there as it lay before.
    """
    origin = origin_of(method)
    labels: str | dict[str, str] | None = origin.get("labels")
    if not isinstance(labels, str):
        return labels
    labels = found_again(labels, Path(origin["source"]), Path(os.path.abspath(place)))
    return labels if Path(labels).is_file() else None


@contextlib.contextmanager
def remembered(source: str | None) -> Iterator[None]:
    """Have an error say more where a source that a model remembers is not there; None: it was given by a person."""
    try:
        yield
    except MissingSource as error:
        if source is None:
            raise
        raise InputError(
            f"{error}; the model was fitted on it: where it has moved, give the SOURCE as it is called now"
        ) from error


@contextlib.contextmanager
def _telling_what_opened(pool: str | None) -> Iterator[None]:
    """Have an error say that of a remembered pool's address no password or signature is kept, as it may need one."""
    try:
        yield
    except InputError as error:
        if pool is None or "://" not in pool or pool not in str(error):
            raise
        raise InputError(
            f"{error}; a model keeps no password or signature of its pool's address: where it needs one, give the "
            "whole address again (pool=, or `fewlabels fit --pool`)"
        ) from error
