"""A model's method fitted once more, with the labels that were given since."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.base import clone

from fewlabels.data import ImageDataset, load_dataset
from fewlabels.data.features import is_feature_folder
from fewlabels.methods import SemiSupervisedClassifier, load, make_method
from fewlabels.methods.embedding import own_size, warn_of_leak
from fewlabels.methods.examples import remember
from fewlabels.methods.feature_cache import make_features
from fewlabels.methods.fitting import fit_dataset
from fewlabels.methods.origin import how_to_read, load_to_label, on_features, origin_of, place_of, size_to_read
from fewlabels.methods.replaced import check_place_before, keep_before
from fewlabels.storage.atomic import check_writable
from fewlabels.storage.errors import InputError, TrainingWarning
from fewlabels.storage.model_folder import check_target, holds_anything
from fewlabels.storage.wording import counted
from fewlabels.training.monitor import Observer

# Of the first training, where nothing else is said: long enough for a first impression, and for two cores.
FIRST_BUDGET = "2m"


def begins(folder: Path, source: str | None) -> bool:
    """Say whether a page is to begin with labels of a source: there is no model in its folder yet.

    Raises
    ------
    InputError
        If there is none, and no source, or the folder is a file.
    """
    if folder.is_dir() and holds_anything(folder):
        return False
    check_target(folder)
    if source is None:
        raise InputError(f"there is no model folder at {folder}; to label the first images and make one, give --source")
    return True


def train(
    tell: Observer,
    folder: Path,
    source: str | None,
    labels: Any,
    net: str | None,
    budget: str = FIRST_BUDGET,
) -> str:
    """Train the model of a folder again, or where it has none, the first one; see `train_again` and `train_first`."""
    check_writable(folder)
    if source is not None and begins(folder, source):
        return train_first(tell, folder, source, labels, net, budget)
    return train_again(tell, folder, source, labels, net)


def first_method(net: str | None, budget: str) -> SemiSupervisedClassifier:
    """Return the method that makes a first model: the one that the data asks for."""
    return make_method("auto", budget=budget, random_state=0, verbose=False, **({} if net is None else {"net": net}))


def train_first(tell: Observer, folder: Path, source: str, labels: Any, net: str | None, budget: str) -> str:
    """Fit the method that a source asks for on labels given by hand, and save the model.

    Parameters
    ----------
    tell : callable
        Is called with each event of the training.
    folder : Path
        Where the model is to be.
    source : str
        Where the images are.
    labels : str or mapping
        See `fewlabels.load_dataset`.
    net : str, optional
        A pretrained net that reads the images.
    budget : str
        How long to train.

    Returns
    -------
    str
        How it went, in one sentence.

    Raises
    ------
    InputError
        If the source or the labels cannot be used, or are too few, or the folder cannot be written.
    """
    check_place_before(folder)
    method = first_method(net, budget)
    data = load_dataset(source, image_size=own_size(source, net), labels=labels)
    _fit(tell, method, data)
    _put_in_place(method, data, folder)
    return _how_it_went(method, len(data.labels), _accuracy(method))


def train_again(tell: Observer, folder: Path, source: str | None, labels: Any, net: str | None) -> str:
    """Fit a saved model's method anew on its source with other labels, and put the result in the model's place.

    Until it is saved, the folder holds the model that was there; after that, `FOLDER.before` does.

    Parameters
    ----------
    tell : callable
        Is called with each event of the training.
    folder : Path
        Of the model.
    source : str, optional
        Where the images are, if not where they were.
    labels : str or mapping
        See `fewlabels.load_dataset`.
    net : str, optional
        The pretrained net, where it was code of the user's own.

    Returns
    -------
    str
        How it went, in one sentence.

    Raises
    ------
    InputError
        If the source or the labels cannot be used, or other files lie where the model before is to go, or it cannot be
        written.
    """
    check_place_before(folder)
    before = load(folder, net=net)
    data = data_to_fit(before, source, labels)
    method = clone(before)
    # What has learned from features knows no net: they were made before.
    method.set_params(verbose=False, **({} if net is None or data.is_features else {"net": net}))
    _fit(tell, method, data)
    _put_in_place(method, data, folder)
    was, now = _accuracy(before), _accuracy(method)
    return _how_it_went(method, len(data.labels), f"{now} (the one before: {was})" if was and now else now)


def _fit(tell: Observer, method: SemiSupervisedClassifier, data: ImageDataset) -> None:
    for note in data.notes:
        warnings.warn(note, TrainingWarning, stacklevel=3)
    fit_dataset(method, data, observer=tell)
    warn_of_leak(method, data)
    remember(method, data)


def _put_in_place(method: SemiSupervisedClassifier, data: ImageDataset, folder: Path) -> None:
    # Where there was no model, another page, or a fit, may have made one meanwhile.
    if holds_anything(folder):
        check_place_before(folder)
        keep_before(folder)
    method.save(folder, class_names=[data.class_names[index] for index in method.classes_])


def _accuracy(method: SemiSupervisedClassifier) -> str:
    accuracy = method.validation_accuracy_
    held_out = counted(method.n_validation_, "held-out image")
    return "" if accuracy != accuracy else f"{accuracy:.1%} on {held_out}"


def _how_it_went(method: SemiSupervisedClassifier, labels: int, accuracy: str) -> str:
    return f"{labels:,} labels, {method.fit_seconds_:.0f} s of training{accuracy and ', '}{accuracy}."


def data_to_fit(before: SemiSupervisedClassifier, source: str | None, labels: Any) -> ImageDataset:
    """Return what a model's method learns from: its images, or features of them where it was fitted on features.

    Parameters
    ----------
    before : SemiSupervisedClassifier
        From `fewlabels.load`.
    source, labels
        See `train_again`.
    """
    place = place_of(before, source)
    if place is None or not on_features(before) or is_feature_folder(Path(place)):
        return load_to_label(before, labels=labels, **how_to_read(before, source))
    size = size_to_read(before, place)
    strict = bool(origin_of(before).get("strict", False))
    features, _ = make_features(place, before._backbone(), size, strict=strict, device=before.device)
    data = load_to_label(before, labels=labels, source=str(features), image_size=None)
    return replace(data, origin={**(data.origin or {}), "source": place, "image_size": size})
